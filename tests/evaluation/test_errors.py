from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from kard_ray.evaluation.errors import analyse_errors
from tests.evaluation.rows import answer, asked, predictions

IDS = ["none", "some", "all", "right"]
GOLD = asked(IDS, gold=("p1", "p2"))
UNKNOWN = asked(IDS)


def kard(source: str = "bm25") -> pa.Table:
    shown = {"none": ["x", "y"], "some": ["x", "p1"], "all": ["p2", "p1"], "right": ["p1", "p2"]}
    return predictions(
        [answer(q, source=source, passage_ids=ids, correct=q == "right") for q, ids in shown.items()]
    )


def silver(mended: set[str]) -> pa.Table:
    return predictions(
        [answer(q, source="silver", passage_ids=["p1", "p2"], correct=q in mended) for q in IDS]
    )


def test_wrong_answers_are_split_by_what_was_found() -> None:
    found = analyse_errors(kard(), GOLD, k=2, silver=silver({"none", "right"}))
    assert (found["n"], found["wrong"], found["gold"]) == (4, 3, "benchmark")
    assert (found["retrieval_failures"], found["reading_failures"]) == (2, 1)
    assert found["failures"] == {
        "no_gold_found": {"n": 1, "wrong": 1, "mended_by_silver": 1},
        "some_gold_found": {"n": 1, "wrong": 1, "mended_by_silver": 0},
        "all_gold_found": {"n": 2, "wrong": 1, "mended_by_silver": 0},
        "gold_unknown": {"n": 0, "wrong": 0, "mended_by_silver": 0},
    }
    assert found["cases"] == [
        {"question_id": "none", "failure": "no_gold_found", "mended_by_silver": True},
        {"question_id": "some", "failure": "some_gold_found", "mended_by_silver": False},
        {"question_id": "all", "failure": "all_gold_found", "mended_by_silver": False},
    ]
    assert json.loads(json.dumps(found)) == found


def test_only_the_first_k_passages_count_as_shown() -> None:
    found = analyse_errors(kard(), GOLD, k=1, silver=None)
    assert {name: counts["n"] for name, counts in found["failures"].items()} == {
        "no_gold_found": 2,
        "some_gold_found": 2,
        "all_gold_found": 0,
        "gold_unknown": 0,
    }


def test_silver_passages_stand_in_for_gold_that_the_benchmark_does_not_know() -> None:
    found = analyse_errors(kard(), UNKNOWN, k=2, silver=silver(set()))
    assert found["gold"] == "silver"
    assert (found["retrieval_failures"], found["reading_failures"]) == (2, 1)


def test_without_gold_and_silver_nothing_is_claimed() -> None:
    found = analyse_errors(kard(), UNKNOWN, k=2, silver=None)
    assert (found["gold"], found["wrong"]) == (None, 3)
    assert (found["retrieval_failures"], found["reading_failures"]) == (0, 0)
    assert found["failures"]["gold_unknown"] == {"n": 4, "wrong": 3, "mended_by_silver": None}
    assert all(case["mended_by_silver"] is None for case in found["cases"])


def test_a_question_without_gold_among_others_is_unknown() -> None:
    questions = GOLD | asked(["some"])
    found = analyse_errors(kard(), questions, k=2, silver=silver(set()))
    assert (found["gold"], found["failures"]["gold_unknown"]["wrong"]) == ("benchmark", 1)


SHOWN = st.lists(st.sampled_from(["p1", "p2", "x", "y"]), unique=True)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.booleans(), SHOWN, st.booleans(), st.booleans()), max_size=10), st.integers(0, 4)
)
def test_every_answer_is_in_one_class_and_every_wrong_one_is_named(
    rows: list[tuple[bool, list[str], bool, bool]], k: int
) -> None:
    names = [f"q{n}" for n in range(len(rows))]
    questions = {}
    for name, (_, _, known, _) in zip(names, rows, strict=True):
        questions |= asked([name], gold=("p1", "p2") if known else ())
    table = predictions(
        [answer(q, correct=right, passage_ids=ids) for q, (right, ids, _, _) in zip(names, rows, strict=True)]
    )
    better = predictions([answer(q, correct=s) for q, (*_, s) in zip(names, rows, strict=True)])
    found = analyse_errors(table, questions, k=k, silver=better)
    counts = found["failures"].values()
    assert sum(c["n"] for c in counts) == len(rows)
    assert sum(c["wrong"] for c in counts) == found["wrong"] == len(found["cases"])
    unknown = found["failures"]["gold_unknown"]["wrong"]
    assert found["retrieval_failures"] + found["reading_failures"] + unknown == found["wrong"]
    assert sum(c["mended_by_silver"] or 0 for c in counts) == sum(s and not right for right, *_, s in rows)
