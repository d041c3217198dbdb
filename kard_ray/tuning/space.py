"""Fields of a recipe by their dotted names: which there are, which may be varied, which values they take."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import islice, product
from typing import Any

from pydantic import BaseModel

from kard_ray.tuning.config import Distribution, Scalar, SweepConfig
from kard_ray.tuning.targets import target_of

Values = dict[str, Scalar]  # dotted name -> value: what a trial has for the fields of the space


def fields_of(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every field of ``model`` that is no group of fields itself, by its dotted name, with its value."""
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        path = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            found |= fields_of(value, f"{path}.")
        else:
            found[path] = value
    return found


def refused_fields(sweep: SweepConfig, recipe: BaseModel) -> dict[str, str]:
    """Fields of the sweep's space that cannot be varied, each with a sentence that says why."""
    target = target_of(sweep.target)
    known = fields_of(recipe)
    refused = {}
    for name in sweep.space:
        group = name.partition(".")[0]
        if name in target.fixed:
            refused[name] = f"trials cannot differ in it: {target.fixed[name]}."
        elif name not in known:
            refused[name] = f"there is no such field; {_near(name, known, target.groups)}"
        elif group not in target.groups:
            refused[name] = (
                f"trials of {target.name} share what is made before them, so only fields of "
                f"{' and '.join(target.groups)} can be varied."
            )
        elif isinstance(known[name], list | tuple | dict):
            refused[name] = "its value is a list or a group of fields, and trials vary single values."
    return refused


def _near(name: str, known: Iterable[str], groups: tuple[str, ...]) -> str:
    """Fields with a similar name: those that may be varied first, and those that end alike before others."""
    mine = [field for field in known if field.partition(".")[0] in groups]
    last = name.rpartition(".")[2]
    alike = difflib.get_close_matches(name, mine, n=3, cutoff=0.75)
    alike += [
        field for field in mine if difflib.get_close_matches(last, [field.rpartition(".")[2]], cutoff=0.8)
    ]
    chosen = list(dict.fromkeys(alike))[:3]
    return (
        f"did you mean {' or '.join(chosen)}?"
        if chosen
        else f"fields of {' and '.join(groups)} can be varied."
    )


def own_values(space: Mapping[str, Distribution], recipe: BaseModel) -> Values:
    """What the recipe itself has for the fields of ``space``."""
    known = fields_of(recipe)
    return {name: known[name] for name in space}


def count_values(space: Mapping[str, Distribution], names: Iterable[str]) -> int | None:
    """How many combinations the values of the fields ``names`` have; None: any number."""
    count = 1
    for name in names:
        values = space[name].values()
        if values is None:
            return None
        count *= len(values)
    return count


def combinations(space: Mapping[str, Distribution], names: Iterable[str], start: int = 0) -> Iterable[Values]:
    """Those combinations from number ``start`` on, the last field's values changing fastest."""
    names = list(names)
    values = [space[name].values() or () for name in names]
    for chosen in islice(product(*values), start, None):
        yield dict(zip(names, chosen, strict=True))
