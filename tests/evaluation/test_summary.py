from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kard_ray.evaluation.flops import decode_flops, prefill_flops, skintern_flops
from kard_ray.evaluation.intervals import bootstrap_interval
from kard_ray.evaluation.model_shape import ModelShape, Stack
from kard_ray.evaluation.scoring import wilson_interval
from kard_ray.evaluation.search_cost import SearchCost
from kard_ray.evaluation.summary import correct_by_question, merge_seeds, stack_seeds, summarise
from tests.evaluation.rows import answer, asked, predictions

SHAPE = ModelShape(
    decoder=Stack(layers=2, hidden=8, heads=2, kv_heads=1, head_size=4, inner=16, gated=True),
    vocabulary=50,
    output_width=8,
)
TWO_PASSES = [
    {"prompt_tokens": 10, "generated_tokens": [4]},
    {"prompt_tokens": 15, "generated_tokens": [2, 3]},
]
QUESTIONS = asked(["q0", "q1", "q2", "q3"], kinds=("area", "border"), gold=("p1",))
ROWS = [
    answer("q0", passage_ids=["p1", "x"], seconds=0.1, calls=TWO_PASSES),
    answer("q1", passage_ids=["x", "p1"], seconds=0.2, correct=False),
    answer("q2", passage_ids=["x", "y"], seconds=0.3, correct=False, prediction_text=None),
    answer(
        "q3", passage_ids=[], seconds=None, correct=False, prediction_text=None, error="too long", calls=[]
    ),
]


def test_a_cell_tells_accuracy_failures_tokens_and_latency() -> None:
    cell = summarise(predictions(ROWS), QUESTIONS, k=2, shape=SHAPE)
    assert (cell["n"], cell["correct"], cell["accuracy"]) == (4, 1, 0.25)
    assert (cell["ci_low"], cell["ci_high"]) == wilson_interval(1, 4)
    assert (cell["parse_failures"], cell["errors"]) == (2, 1)
    assert (cell["prompt_tokens"], cell["generated_tokens"]) == (25 + 10 + 10, 9 + 4 + 4)
    assert cell["seconds_p50"] == pytest.approx(0.2)
    assert cell["seconds_p95"] == pytest.approx(0.29)
    assert cell["hits_at"] == [0.25, 0.5]
    assert json.loads(json.dumps(cell, allow_nan=False)) == cell


def test_flops_are_means_over_all_questions_those_with_errors_too() -> None:
    cell = summarise(predictions(ROWS), QUESTIONS, k=2, shape=SHAPE, searching=SearchCost(7, 9))
    prefill = 3 * prefill_flops(SHAPE, 10) + prefill_flops(SHAPE, 15)
    decode = 3 * decode_flops(SHAPE, 10, 4) + decode_flops(SHAPE, 15, 2) + decode_flops(SHAPE, 15, 3)
    assert cell["flops_per_question"] == {
        "prefill": prefill / 4, "decode": decode / 4, "retriever": 7, "reranker": 9,
        "total": prefill / 4 + decode / 4 + 16,
    }  # fmt: skip
    assert cell["skintern_flops_per_question"] == skintern_flops(SHAPE, 45) / 4


def test_what_is_not_known_is_null() -> None:
    rows = [answer("q0", seconds=None), answer("q1", seconds=None)]
    cell = summarise(predictions(rows), QUESTIONS, k=0, shape=None)
    unknown = (
        "flops_per_question",
        "skintern_flops_per_question",
        "seconds_p50",
        "seconds_p95",
        "hits_at",
        "all_gold_at",
    )
    assert [cell[name] for name in unknown] == [None] * 6  # fmt: skip
    empty = summarise(predictions([]), {}, k=3, shape=SHAPE)
    assert (empty["n"], empty["accuracy"], empty["flops_per_question"], empty["by_kind"]) == (
        0,
        0.0,
        None,
        {},
    )


OUTCOMES = st.lists(st.sampled_from(["right", "wrong", "unreadable"]), min_size=1, max_size=12)


@settings(max_examples=40)
@given(OUTCOMES, st.integers(1, 3))
def test_kinds_add_up_to_the_whole(outcomes: list[str], kinds: int) -> None:
    questions = asked([f"q{n}" for n in range(len(outcomes))], kinds=["", "a", "b"][:kinds])
    rows = [
        answer(f"q{n}", correct=outcome == "right", prediction_text=None if outcome == "unreadable" else "x")
        for n, outcome in enumerate(outcomes)
    ]
    cell = summarise(predictions(rows), questions, k=2, shape=None)
    for name in ("n", "correct", "parse_failures"):
        assert cell[name] == sum(kind[name] for kind in cell["by_kind"].values())
    assert set(cell["by_kind"]) <= {"all", "a", "b"}


def test_answers_of_two_sources_are_not_mixed() -> None:
    assert correct_by_question(predictions(ROWS)) == {"q0": True, "q1": False, "q2": False, "q3": False}
    with pytest.raises(ValueError, match="one source"):
        correct_by_question(predictions([answer("q0"), answer("q0", source="bm25")]))


def test_seeds_are_aligned_by_question() -> None:
    ids, correct = stack_seeds([{"a": True, "b": False}, {"b": True, "a": False}])
    assert (ids, correct.tolist()) == (["a", "b"], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="1 differ, first c"):
        stack_seeds([{"a": True}, {"a": True, "c": True}])


def test_a_row_is_the_mean_of_its_seeds_with_the_bootstraps_interval() -> None:
    first = predictions(ROWS)
    second = predictions([row | {"correct": True, "seconds": 0.5} for row in ROWS])
    tables = [first, second]
    cells = [summarise(table, QUESTIONS, k=2, shape=SHAPE) for table in tables]
    by_seed = [correct_by_question(table) for table in tables]
    row = merge_seeds(cells, by_seed, {name: q.kind for name, q in QUESTIONS.items()})
    correct_SQ = np.array([[1, 0, 0, 0], [1, 1, 1, 1]])
    assert row["accuracy_by_seed"] == [0.25, 1.0]
    assert (row["n"], row["accuracy"]) == (4, 0.625)
    assert (row["ci_low"], row["ci_high"]) == bootstrap_interval(correct_SQ)
    assert row["seconds_p50"] == pytest.approx((0.2 + 0.5) / 2)
    assert row["flops_per_question"] == cells[0]["flops_per_question"]
    assert row["hits_at"] == [0.25, 0.5]
    assert row["by_kind"]["area"] == {
        "n": 2, "accuracy": 0.75,
        **dict(zip(("ci_low", "ci_high"), bootstrap_interval(correct_SQ[:, [0, 2]]), strict=True)),
    }  # fmt: skip
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_a_figure_that_one_seed_lacks_is_null_in_the_row() -> None:
    tables = [predictions(ROWS), predictions([row | {"seconds": None} for row in ROWS])]
    cells = [
        summarise(table, QUESTIONS, k=2, shape=shape)
        for table, shape in zip(tables, (SHAPE, None), strict=True)
    ]
    row = merge_seeds(cells, [correct_by_question(table) for table in tables], dict.fromkeys(QUESTIONS, ""))
    assert (row["seconds_p50"], row["flops_per_question"], row["skintern_flops_per_question"]) == (None,) * 3
    assert list(row["by_kind"]) == ["all"]
