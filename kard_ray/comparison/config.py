"""Settings of a comparison: which students of which seeds stand beside each other."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from kard_ray.runtime.config import Frozen, Seed
from kard_ray.student.methods.registry import MethodName

# Fields by their dotted names, as behind --set; which ones there are is the recipe's matter.
Changes = dict[str, Any]

# Groups whose fields may differ between the cells of one comparison: what is made before students is shared, but there
# may be several rerankers.
CHANGEABLE = ("student", "curriculum", "prediction", "reranker")
# Fields that the comparison itself sets, and those without which answers could not be compared question by question.
FIXED = {
    "student.methods": "the methods of a comparison are those of student.methods",
    "student.seed": "the seeds of a comparison are those of compare.seeds",
    "prediction.split": "all students answer the same questions",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def refusal(changes: Changes) -> str | None:
    """Why these fields cannot differ between the cells of a comparison; None when they can."""
    for name in changes:
        if name in FIXED:
            return f"{name} cannot be changed here: {FIXED[name]}"
        if name.partition(".")[0] not in CHANGEABLE or "." not in name:
            groups = ", ".join(CHANGEABLE)
            return f"{name!r} is no field of {groups}; name one with its group, such as student.epochs"
    return None


class MethodCells(Frozen):
    """What is different for one method."""

    seeds: tuple[Seed, ...] | None = Field(None, min_length=1)  # null: those of all methods
    overrides: Changes = {}  # such as {student.epochs: 12}

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return _once(seeds) if seeds is not None else None

    @field_validator("overrides")
    @classmethod
    def _overrides_fit(cls, changes: Changes) -> Changes:
        return _fit(changes)


class CompareConfig(Frozen):
    """A grid of methods (those of ``student.methods``), students and seeds; every cell shares what it can."""

    seeds: tuple[Seed, ...] = ()  # none: student.seed alone
    # Name -> fields that are different for it; none: the recipe's student alone.
    students: dict[Annotated[str, Field(max_length=40)], Changes] = {}
    methods: dict[MethodName, MethodCells] = {}
    # Methods whose differences from all others are tested; those that the comparison has not are passed over.
    claims: tuple[str, ...] = ("kard", "skintern", "kard_intern")
    # Rows that are tested beside those, whatever their students: [small/kard/bm25, large/finetune/none].
    pairs: tuple[tuple[str, str], ...] = ()
    # Name -> kinds of questions: accuracy and differences are also told of these questions alone.
    groups: dict[str, tuple[str, ...]] = {}
    examples: int = Field(100, ge=0, le=500)  # questions in the report's browser

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return _once(seeds)

    @field_validator("pairs")
    @classmethod
    def _pairs_differ(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for a, b in pairs:
            if a == b:
                raise ValueError(f"{a!r} cannot be compared with itself")
        return pairs

    @field_validator("groups")
    @classmethod
    def _groups_have_kinds(cls, groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, kinds in groups.items():
            _named(name, "a group")
            if not kinds:
                raise ValueError(f"group {name!r} has no kind of question")
        return groups

    @field_validator("students")
    @classmethod
    def _students_fit(cls, students: dict[str, Changes]) -> dict[str, Changes]:
        for name, changes in students.items():
            _named(name, "a student")
            _fit(changes)
        return students


def _named(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name for {what}: letters, digits, '.', '_' and '-', at most 40 of them"
        )


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands there twice")
    return seeds


def _fit(changes: Changes) -> Changes:
    if (reason := refusal(changes)) is not None:
        raise ValueError(reason)
    return changes
