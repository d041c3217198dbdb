from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.curriculum.schedule import ScheduleConfig, fractions
from kard_ray.student.methods.base import Evidence, Help, Shot
from tests.student.methods.rows import EVIDENCE, HELP, SHOTS, rows_of


def test_each_stage_shows_its_own_notes_and_the_nearest_examples() -> None:
    rows = rows_of("skintern", evidence=EVIDENCE[:1])
    assert [row.stage for row in rows] == [1, 2, 3, 4]
    assert [row.help for row in rows] == [*HELP[:3], None]
    assert [len(row.shots) for row in rows] == [6, 4, 2, 0]  # SKIntern: K = 6, T = 4
    assert all(list(row.shots) == SHOTS[: len(row.shots)] for row in rows)
    assert all(row.target == EVIDENCE[0].rationale for row in rows)


def test_a_rationale_without_notes_has_the_examples_alone() -> None:
    rows = rows_of("skintern", evidence=EVIDENCE[1:])
    assert [row.help for row in rows] == [None] * 4
    assert [len(row.shots) for row in rows] == [6, 4, 2, 0]


STAGES = st.builds(
    ScheduleConfig, shape=st.sampled_from(["linear", "exp", "inverse_exp"]), stages=st.integers(2, 9)
)


@given(schedule=STAGES, examples=st.integers(0, 9), evidence=st.lists(st.booleans(), min_size=1, max_size=3))
def test_the_last_stage_is_reasoning_distillation(
    schedule: ScheduleConfig, examples: int, evidence: list[bool]
) -> None:
    kept = fractions(schedule)
    # Even a compressor that leaves something of a text at fraction 0 helps nobody in the last stage.
    items = [
        Evidence(rationale=f"{n}.", silver=[], help=[Help(summary="s")] * len(kept) if has else ())
        for n, has in enumerate(evidence)
    ]
    shots = [Shot(question=f"{n}?", options=(), written="w") for n in range(examples)]
    rows = rows_of("skintern", evidence=items, shots=shots, fractions=kept)
    last = [dataclasses.replace(row, stage=1) for row in rows if row.stage == len(kept)]
    assert last == rows_of("std_cot", evidence=items)
    for one, next_ in pairwise(range(1, len(kept) + 1)):
        before, after = ([len(row.shots) for row in rows if row.stage == stage] for stage in (one, next_))
        assert all(a >= b for a, b in zip(before, after, strict=True))


def test_notes_of_another_schedule_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        rows_of("skintern", evidence=EVIDENCE[:1], fractions=(1.0, 0.0))
