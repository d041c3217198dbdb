from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.curriculum.schedule import ScheduleConfig, fractions
from kard_ray.student.methods.base import Evidence
from tests.student.methods.rows import EVIDENCE, rows_of

PASSAGES = [(f"T{n}", f"text {n}") for n in range(8)]


def test_passages_fade_and_the_last_stage_rehearses_reading_all_of_them() -> None:
    rows = rows_of("kard_intern", evidence=EVIDENCE[:1])
    silver = list(EVIDENCE[0].silver)
    assert [(row.stage, list(row.passages)) for row in rows] == [
        (1, silver),
        (2, silver[:2]),
        (3, silver[:1]),
        (4, []),
        (4, silver),
    ]
    assert {row.target for row in rows} == {EVIDENCE[0].rationale}


@given(
    stages=st.integers(2, 7),
    shape=st.sampled_from(["linear", "exp", "inverse_exp"]),
    k=st.integers(0, 9),
    silver=st.integers(0, 8),
)
def test_the_last_stage_has_a_row_alone_and_a_row_that_reads_as_kards(
    stages: int, shape: str, k: int, silver: int
) -> None:
    schedule = ScheduleConfig(shape=shape, stages=stages)  # type: ignore[arg-type]
    items = [Evidence(rationale="It is.", silver=PASSAGES[:silver])]
    rows = rows_of("kard_intern", evidence=items, fractions=fractions(schedule), passages=k)
    alone, *rehearsed = [row.passages for row in rows if row.stage == stages]
    assert list(alone) == []
    assert rehearsed == [tuple(PASSAGES[: min(k, silver)])] * (min(k, silver) > 0)
    assert [row.passages for row in rows if row.stage == 1] == [tuple(PASSAGES[: min(k, silver)])]
    lengths = [len(row.passages) for row in rows][:stages]
    assert lengths == sorted(lengths, reverse=True)
