from __future__ import annotations

import itertools
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kard_ray.evaluation.flops import question_cost
from kard_ray.evaluation.gating import ALWAYS, GatePoint, choose_threshold, gated, gating_curve
from kard_ray.evaluation.model_shape import ModelShape, Stack
from kard_ray.evaluation.search_cost import SearchCost
from kard_ray.evaluation.summary import summarise
from tests.evaluation.rows import answer, asked, predictions

SHAPE = ModelShape(
    decoder=Stack(layers=2, hidden=8, heads=2, kv_heads=1, head_size=4, inner=16, gated=True),
    vocabulary=50,
    output_width=8,
)
LONG = [{"prompt_tokens": 90, "generated_tokens": [5]}]

# (own answer right, answer with passages right, confidence of the own answer)
ANSWERS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.one_of(st.none(), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))),
    min_size=1,
    max_size=10,
)


def both(answers: list[tuple[bool, bool, float | None]]) -> tuple[pa.Table, pa.Table]:
    alone = [answer(f"q{n}", correct=own, confidence=sure) for n, (own, _, sure) in enumerate(answers)]
    asking = [
        answer(f"q{n}", correct=other, source="bm25", passage_ids=["p"], calls=LONG, seconds=1.0)
        for n, (_, other, _) in enumerate(answers)
    ]
    return predictions(alone), predictions(asking[::-1])  # another order: rows are matched by question


@settings(max_examples=60)
@given(ANSWERS)
def test_each_point_is_what_the_gated_answers_have(answers: list[tuple[bool, bool, float | None]]) -> None:
    alone, asking = both(answers)
    questions = asked(alone["question_id"].to_pylist())
    for point in gating_curve(alone, asking, shape=SHAPE, searching=SearchCost(1000)):
        table = gated(alone, asking, point.threshold)
        cell = summarise(table, questions, k=1, shape=SHAPE, searching=SearchCost(1000 * point.asked))
        assert cell["accuracy"] == pytest.approx(point.accuracy)
        assert cell["flops_per_question"]["total"] == pytest.approx(point.flops_per_question)
        assert sum(bool(ids) for ids in table["passage_ids"].to_pylist()) == round(point.asked * len(answers))


@settings(max_examples=60)
@given(ANSWERS)
def test_a_higher_threshold_asks_more_and_costs_more(answers: list[tuple[bool, bool, float | None]]) -> None:
    alone, asking = both(answers)
    curve = gating_curve(alone, asking, shape=SHAPE)
    for lower, higher in itertools.pairwise(curve):
        assert lower.threshold < higher.threshold
        assert lower.asked <= higher.asked
        assert (lower.flops_per_question or 0) <= (higher.flops_per_question or 0)
    unknown = sum(sure is None for _, _, sure in answers)
    assert curve[0].asked == unknown / len(answers)
    assert (curve[-1].threshold, curve[-1].asked) == (ALWAYS, 1.0)
    assert curve[-1].accuracy == sum(other for _, other, _ in answers) / len(answers)


def test_the_ends_are_the_two_students() -> None:
    alone, asking = both([(True, False, 0.9), (False, True, 0.2), (True, True, 1.0), (False, True, 0.4)])
    curve = gating_curve(alone, asking, shape=SHAPE, searching=SearchCost(10, 5))
    own = question_cost(SHAPE, [{"prompt_tokens": 10, "generated_tokens": [4]}]).total
    other = question_cost(SHAPE, LONG).total
    assert (curve[0].accuracy, curve[0].flops_per_question) == (0.5, own)
    assert (curve[-1].accuracy, curve[-1].flops_per_question) == (0.75, own + other + 15)
    best = choose_threshold(curve)
    assert (best.accuracy, best.asked, best.threshold) == (1.0, 0.5, 0.9)


def test_the_cheapest_point_within_the_tolerance_is_chosen() -> None:
    curve = [
        GatePoint(threshold=t, asked=a, accuracy=c, flops_per_question=None)
        for t, a, c in ((0.0, 0.0, 0.60), (0.3, 0.2, 0.69), (0.6, 0.5, 0.70), (2.0, 1.0, 0.70))
    ]
    assert choose_threshold(curve).threshold == 0.6
    assert choose_threshold(curve, tolerance=0.01).threshold == 0.3
    assert choose_threshold(curve, tolerance=1).threshold == 0.0


def test_an_asked_question_pays_for_both_answers() -> None:
    alone, asking = both([(True, False, 0.9), (False, True, 0.2)])
    table = gated(alone, asking, 0.5)
    assert table.schema == alone.schema
    kept, put = table.to_pylist()
    own = alone.to_pylist()[0]
    assert kept == own | {"prediction_id": "gated/q0", "source": "gated"}
    assert (put["question_id"], put["correct"], put["passage_ids"]) == ("q1", True, ["p"])
    assert put["calls"] == [{"prompt_tokens": 10, "generated_tokens": [4]}, *LONG]
    assert (put["prompt_tokens"], put["generated_tokens"]) == (100, 9)
    assert put["seconds"] == pytest.approx(1.25)


def test_a_latency_that_one_answer_lacks_is_not_guessed() -> None:
    alone, asking = both([(False, True, None)])
    without = pa.Table.from_pylist(
        [row | {"seconds": None} for row in asking.to_pylist()], schema=asking.schema
    )
    assert gated(alone, without, 0.0)["seconds"].to_pylist() == [None]


def test_a_long_curve_is_thinned_but_keeps_its_ends() -> None:
    answers: list[Any] = [(n % 3 == 0, n % 2 == 0, n / 500) for n in range(500)]
    curve = gating_curve(*both(answers), shape=None, points=11)
    assert len(curve) == 11
    assert (curve[0].asked, curve[-1].asked) == (0, 1)
    assert max(b.asked - a.asked for a, b in itertools.pairwise(curve)) < 0.12
    assert all(point.flops_per_question is None and math.isfinite(point.threshold) for point in curve)


def test_other_questions_cannot_be_gated() -> None:
    alone, asking = both([(True, True, 0.5), (True, True, 0.5)])
    with pytest.raises(ValueError, match="2 and 1 rows of 1 questions"):
        gating_curve(alone, asking.slice(0, 1), shape=None)
    with pytest.raises(ValueError, match="4 and 2 rows"):
        gated(pa.concat_tables([alone, alone]), asking, 0.5)
    with pytest.raises(ValueError, match="0 and 0 rows"):
        gated(alone.slice(0, 0), asking.slice(0, 0), 0.5)
