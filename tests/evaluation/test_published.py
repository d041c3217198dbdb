from __future__ import annotations

import json
from typing import get_args

import pytest

from kard_ray.evaluation.published import (
    DISAGREEING,
    FINDINGS,
    KARD_RESULTS,
    PUBLISHED,
    SKINTERN_ABLATIONS,
    SKINTERN_AVERAGES,
    SKINTERN_ORDER,
    SKINTERN_TABLE,
    BenchmarkName,
    PublishedRow,
    published_rows,
)


def agrees(row: PublishedRow) -> bool:
    """Within half a unit of the average's last digit and half a unit of the accuracies'."""
    return abs(row.recomputed_average - row.average) <= 0.1 + 1e-9


def test_every_average_is_that_of_its_accuracies_but_for_the_one_that_is_told() -> None:
    assert tuple((row.student, row.method) for row in SKINTERN_TABLE if not agrees(row)) == DISAGREEING
    (row,) = (row for row in SKINTERN_TABLE if (row.student, row.method) in DISAGREEING)
    assert any(
        f"{row.average}" in finding.text and f"{row.recomputed_average:.1f}" in finding.text
        for finding in FINDINGS
    )


def test_every_row_has_a_percentage_for_each_benchmark() -> None:
    for row in SKINTERN_TABLE:
        assert len(row.accuracies) == len(SKINTERN_ORDER) == 7
        assert all(0 <= value <= 100 for value in (*row.accuracies, row.average))


def test_the_gains_over_the_best_baselines_are_those_of_the_caveat() -> None:
    average = {(row.student, row.method): row.average for row in SKINTERN_TABLE}
    for student, best, gain in (
        ("LLaMA2-7B", "cascod", 4.4),
        ("LLaMA2-7B", "kard", 6.8),
        ("LLaMA2-7B", "std_cot", 8.4),
        ("TinyLLaMA-1.1B", "kard", 4.2),
        ("TinyLLaMA-1.1B", "std_cot", 4.3),
    ):
        assert average[student, "skintern"] - average[student, best] == pytest.approx(gain, abs=0.051)


def test_every_student_has_every_method_once() -> None:
    keys = [(row.student, row.method) for row in SKINTERN_TABLE]
    assert len(keys) == len(set(keys)) == 2 * 9
    per_student = [{m for s, m in keys if s == student} for student in {s for s, _ in keys}]
    assert per_student[0] == per_student[1]
    averages = [(row.student, row.method) for row in SKINTERN_AVERAGES]
    assert len(averages) == len(set(averages)) == 4 * 4 + 1


def test_the_ablations_first_line_is_the_tables() -> None:
    (row,) = (r for r in SKINTERN_TABLE if (r.student, r.method) == ("LLaMA2-7B", "skintern"))
    table = dict(zip(SKINTERN_ORDER, row.accuracies, strict=True))
    full = [one for one in SKINTERN_ABLATIONS if one.variant == "linear, T = 4"]
    assert {one.benchmark: one.accuracy for one in full} == {
        one.benchmark: table[one.benchmark] for one in full
    }
    assert len(SKINTERN_ABLATIONS) == 8 * 5
    best = {one.benchmark: one.accuracy for one in full}
    assert all(one.accuracy <= best[one.benchmark] for one in SKINTERN_ABLATIONS)


def test_every_value_tells_its_source_and_what_to_beware_of() -> None:
    for one in (*PUBLISHED, *SKINTERN_ABLATIONS):
        assert one.source
        assert one.benchmark in get_args(BenchmarkName)
    assert all("not from the paper itself" in one.note for one in KARD_RESULTS)
    assert all(row.source and "no generated token" in row.note for row in SKINTERN_TABLE)
    assert all(finding.text.endswith(".") and finding.source for finding in FINDINGS)


def test_rows_are_given_by_benchmark_with_the_students_flops() -> None:
    bbh = published_rows("bbh")
    assert [row["variant"] == "" for row in bbh] == [True] * 18 + [False] * 8  # Table 1, then the ablations
    (kard,) = (r for r in bbh if (r["student"], r["method"]) == ("LLaMA2-7B", "kard"))
    assert (kard["accuracy"], kard["relative_flops"], kard["paper"]) == (58.9, 24.5, "SKIntern")
    assert [(r["method"], r["accuracy"], r["relative_flops"]) for r in published_rows("medqa")] == [
        ("kard", 38.15, None),
        ("finetune", 30.71, None),
    ]
    assert published_rows("factbook") == []
    assert json.loads(json.dumps(bbh, allow_nan=False)) == bbh
