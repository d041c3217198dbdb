from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.comparison.results import (
    CURVE_POINTS,
    make_results,
    published,
    thinned,
    unknown_kinds,
    with_gated,
)
from kard_ray.evaluation.paired import compare_pair, mcnemar
from kard_ray.evaluation.summary import correct_by_question, stack_seeds
from tests.comparison.fake import fake_answers, fake_questions

QUESTIONS = fake_questions(40)
CLAIMS = ("kard", "skintern", "kard_intern")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    answers = fake_answers(QUESTIONS, methods=("finetune", "std_cot", "kard", "kard_intern", "zero_shot"))
    return make_results(answers, QUESTIONS, asking=("kard_intern",), claims=CLAIMS)


def row(results: dict[str, Any], method: str, passages: str = "none") -> dict[str, Any]:
    (found,) = [r for r in results["rows"] if (r["method"], r["passages"]) == (method, passages)]
    return found


def test_results_are_plain_json(results: dict[str, Any]) -> None:
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_there_is_a_cell_for_every_seed_and_source_and_a_row_over_its_seeds(results: dict[str, Any]) -> None:
    cells = [(c["method"], c["passages"], c["seed"]) for c in results["cells"]]
    assert cells.count(("kard", "bm25", 43)) == cells.count(("kard", "silver", 43)) == 1
    assert row(results, "kard", "bm25")["seeds"] == [42, 43, 44]
    assert row(results, "zero_shot")["seeds"] == [42]
    for found in results["rows"]:
        mine = [
            c
            for c in results["cells"]
            if (c["method"], c["passages"]) == (found["method"], found["passages"])
        ]
        assert found["accuracy"] == pytest.approx(np.mean([c["accuracy"] for c in mine]))
        assert found["prompt_tokens"] == pytest.approx(np.mean([c["prompt_tokens"] for c in mine]))
        assert found["ci_low"] <= found["accuracy"] <= found["ci_high"]


def test_a_prompted_baseline_was_not_trained(results: dict[str, Any]) -> None:
    (cell,) = [c for c in results["cells"] if c["method"] == "zero_shot"]
    assert (cell["train_seconds"], cell["train_tokens"], cell["final_loss"], cell["curve"]) == (
        None,
        None,
        None,
        [],
    )
    assert row(results, "zero_shot")["train_seconds"] is None
    assert row(results, "kard", "bm25")["train_seconds"] > 0


def test_flops_are_relative_to_std_cot_and_prompts_are_also_counted_alone(results: dict[str, Any]) -> None:
    unit = row(results, "std_cot")
    assert {r["flops_relative_to"] for r in results["rows"]} == {unit["id"]}
    assert unit["flops_relative"] == unit["prefill_relative"] == 1.0
    kard = row(results, "kard", "bm25")
    assert kard["flops_relative"] == pytest.approx(
        kard["flops_per_question"]["total"] / unit["flops_per_question"]["total"]
    )
    assert kard["prefill_relative"] > kard["flops_relative"] > 1


def test_without_std_cot_flops_are_relative_to_the_cheapest_row() -> None:
    found = make_results(fake_answers(QUESTIONS, methods=("finetune", "kard"), seeds=(1,)), QUESTIONS)
    assert {r["flops_relative_to"] for r in found["rows"]} == {"smollm2-135m/finetune/none"}


def test_a_gated_student_answers_each_question_in_one_of_its_two_ways(results: dict[str, Any]) -> None:
    answers = fake_answers(QUESTIONS, methods=("kard_intern",), seeds=(1,))
    everything, interns = with_gated(answers, ("kard_intern",))
    assert [a.passages for a in everything] == ["none", "bm25", "gated bm25"]
    alone, asking, gated = ({r["question_id"]: r for r in a.predictions.to_pylist()} for a in everything)
    assert gated.keys() == QUESTIONS.keys()
    for name, line in gated.items():
        assert line["correct"] in (alone[name]["correct"], asking[name]["correct"])
        source = asking if line["passage_ids"] else alone
        assert line["prediction"] == source[name]["prediction"]
    (curve,) = [intern.record() for intern in interns]
    assert curve["curve"][0]["asked"] == 0
    assert curve["curve"][-1]["asked"] == 1
    assert curve["curve"][-1]["accuracy"] == pytest.approx(
        np.mean([line["correct"] for line in asking.values()])
    )


def test_one_question_can_be_gated() -> None:
    one = fake_questions(1)
    everything, _ = with_gated(fake_answers(one, methods=("kard_intern",), seeds=(1,)), ("kard_intern",))
    assert everything[-1].predictions.num_rows == 1


def test_claimed_methods_are_tested_against_all_others_in_one_family(results: dict[str, Any]) -> None:
    pairs = {(p["a"].split("/", 1)[1], p["b"].split("/", 1)[1]) for p in results["pairs"]}
    assert ("kard/bm25", "std_cot/none") in pairs
    assert ("kard_intern/gated bm25", "finetune/none") in pairs
    assert ("kard_intern/gated bm25", "kard_intern/bm25") in pairs
    assert ("kard/silver", "kard/bm25") in pairs
    assert not any("silver" in b for _, b in pairs)
    assert not any({a, b} == {"finetune/none", "std_cot/none"} for a, b in pairs)
    assert all(p["p_holm"] >= p["p_value"] for p in results["pairs"])


def test_a_student_with_other_passages_is_the_same_student(results: dict[str, Any]) -> None:
    (pair,) = (p for p in results["pairs"] if p["a"].endswith("kard/silver") and p["b"].endswith("kard/bm25"))
    answers = fake_answers(QUESTIONS, methods=("kard",))
    silver, bm25 = (
        stack_seeds([correct_by_question(a.predictions) for a in answers if a.passages == source])[1]
        for source in ("silver", "bm25")
    )
    alike, apart = (compare_pair(silver, bm25, same_students=same) for same in (True, False))
    assert (pair["ci_low"], pair["ci_high"]) == (alike.ci_low, alike.ci_high) != (apart.ci_low, apart.ci_high)


def test_errors_are_told_of_students_that_search(results: dict[str, Any]) -> None:
    assert [(e["method"], e["seed"], e["passages"]) for e in results["errors"]] == [
        ("kard", 42, "bm25"), ("kard", 43, "bm25"), ("kard", 44, "bm25"), ("kard_intern", 42, "bm25"),
    ]  # fmt: skip
    for error in results["errors"]:
        assert error["retrieval_failures"] + error["reading_failures"] == error["wrong"]


@given(st.integers(0, 1000), st.integers(1, 50))
def test_a_thinned_curve_keeps_its_mean_and_its_end(steps: int, points: int) -> None:
    losses = [float(step % 7) for step in range(steps)]
    curve = pa.table(
        {"step": pa.array(range(1, steps + 1), pa.int64()), "loss": pa.array(losses, pa.float64())}
    )
    found = thinned(curve, points)
    assert len(found) <= points
    assert [step for step, _ in found] == sorted({step for step, _ in found})
    if steps:
        assert found[-1][0] == steps
        assert min(losses) <= min(loss for _, loss in found)
    assert thinned(None) == []
    assert len(thinned(curve)) <= CURVE_POINTS


def test_published_numbers_stand_beside_any_benchmark() -> None:
    assert {r["benchmark"] for r in published("gsm8k")} == {"gsm8k"}
    other = published("factbook")
    assert {r["method"] for r in other} >= {"std_cot", "kard", "skintern"}
    assert {r["benchmark"] for r in other} == {"mean of its seven"}
    assert {*other[0]} == {*published("gsm8k")[0]}


def test_a_pair_is_of_the_same_questions_whatever_the_order_of_their_answers() -> None:
    # Answers of a gated row stand by halves, those of its other rows by question.
    questions = fake_questions(200)
    answers = fake_answers(questions, methods=("kard_intern",), seeds=(1,))
    gated = with_gated(answers, ("kard_intern",))[0][-1]
    assert list(gated.predictions["question_id"]) != list(answers[0].predictions["question_id"])
    (pair,) = (
        p
        for p in make_results(answers, questions, asking=("kard_intern",))["pairs"]
        if "gated" in p["a"] and p["b"].endswith("kard_intern/bm25")
    )
    a, b = (correct_by_question(found.predictions) for found in (gated, answers[1]))
    only_a = sum(a[name] and not b[name] for name in a)
    only_b = sum(b[name] and not a[name] for name in a)
    assert pair["p_value"] == pytest.approx(mcnemar(only_a, only_b))


def test_rows_of_two_students_are_tested_beside_the_claims() -> None:
    answers = [
        found
        for student in ("small", "large")
        for found in fake_answers(QUESTIONS, methods=("finetune", "kard"), seeds=(1,), student=student)
    ]
    named = [
        ("small/kard/bm25", "large/finetune/none"),
        ("small/finetune/none", "small/kard/bm25"),  # stands there already, the other way round
        ("large/finetune/none", "small/kard/bm25"),  # the first once more
        ("small/kard/bm25", "large/std_cot/none"),  # has not answered
    ]
    plain = make_results(answers, QUESTIONS, claims=("kard",))["pairs"]
    pairs = make_results(answers, QUESTIONS, claims=("kard",), pairs=named)["pairs"]
    assert [(p["a"], p["b"]) for p in pairs] == [*((p["a"], p["b"]) for p in plain), named[0]]
    # One family: a further test can only make the correction harder.
    assert all(more["p_holm"] >= less["p_holm"] for more, less in zip(pairs, plain, strict=False))


def test_a_group_of_kinds_is_told_as_if_there_were_no_other_questions() -> None:
    groups = {"places": ("border", "capital"), "empty": ("river",)}
    answers = fake_answers(QUESTIONS, methods=("std_cot", "kard"))
    found = make_results(answers, QUESTIONS, claims=("kard",), groups=groups)
    (group,) = found["groups"]
    assert (group["name"], group["kinds"], group["n"]) == ("places", ["border", "capital"], 20)
    mine = {name: question for name, question in QUESTIONS.items() if question.kind in groups["places"]}
    alone = make_results(
        [replace(one, predictions=_only(one.predictions, mine)) for one in answers], mine, claims=("kard",)
    )
    assert group["pairs"] == alone["pairs"]
    for whole, part in zip(found["rows"], alone["rows"], strict=True):
        assert whole["by_group"] == {
            "places": {name: part[name] for name in ("n", "accuracy", "ci_low", "ci_high")}
        }


def test_a_kind_that_no_question_is_of_is_told_with_those_that_there_are() -> None:
    found = unknown_kinds({"places": ("border", "rivers"), "sizes": ("area",)}, QUESTIONS)
    assert found == [
        {
            "cell": "compare.groups.places",
            "reason": "no question is of kind 'rivers'; there are area, border, capital, population.",
        }
    ]


def _only(predictions: pa.Table, questions: dict[str, Any]) -> pa.Table:
    return predictions.filter(pc.is_in(predictions["question_id"], pa.array(list(questions))))
