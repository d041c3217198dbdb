"""Which question goes to which split: by its wording, so that the same question never stands on two sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil

from kard_ray.benchmarks.question import Question, Split
from kard_ray.runtime.errors import UserError


def wording(text: str) -> str:
    """``text`` without case and spacing: questions of the same wording belong in the same split."""
    return " ".join(text.casefold().split())


def _content(row: Question) -> tuple[str, ...]:
    return (wording(row.question), *row.options)


def with_ids(questions: Iterable[Question], prefix: str) -> list[Question]:
    """The same questions, each with an id from its content alone; what stands again is numbered from 2 on."""
    seen: dict[str, int] = {}
    found = []
    for row in questions:
        content = json.dumps([row.question, row.options], ensure_ascii=False)
        name = f"{prefix}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        seen[name] = seen.get(name, 0) + 1
        found.append(replace(row, question_id=name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return found


def refuse_repeated_ids(questions: Iterable[Question], where: str) -> None:
    """Raises UserError when two questions have the same id."""
    seen: set[str] = set()
    for row in questions:
        if row.question_id in seen:
            raise UserError(
                f"{where}, field id: {row.question_id!r} stands twice; "
                "expected an id that no other question has."
            )
        seen.add(row.question_id)


def not_held_out(train: Sequence[Question], held_out: Iterable[Question]) -> list[Question]:
    """``train`` without the questions that stand, in the same wording and with the same options, in ``held_out``."""
    taken = {_content(row) for row in held_out}
    return [row for row in train if _content(row) not in taken]


def hashed_share(questions: Sequence[Question], fraction: float, salt: str) -> set[str]:
    """The ids of ``fraction`` of the questions (rounded up), chosen by a hash of ``salt``, wording, and options.

    Questions that agree in these are chosen together, and left out together where they would be too many.
    """
    return grouped_share({row.question_id: "\n".join(_content(row)) for row in questions}, fraction, salt)


def grouped_share(groups: Mapping[str, str], fraction: float, salt: str) -> set[str]:
    """``fraction`` of the ids (rounded up) in ``groups``, chosen by a hash of ``salt`` and their group.

    A group's ids are chosen together, and left out together where they would be too many.
    """
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    room = ceil(round(fraction * len(groups), 9))  # 0.2 of 250 is 50, whatever binary fractions say
    chosen: set[str] = set()
    for group in sorted(members, key=lambda group: hashlib.sha256(f"{salt}\n{group}".encode()).digest()):
        if len(members[group]) <= room:
            chosen.update(members[group])
            room -= len(members[group])
    return chosen


def in_split(questions: Iterable[Question], split: Split) -> list[Question]:
    """The same questions as part of ``split``."""
    return [replace(row, split=split) for row in questions]
