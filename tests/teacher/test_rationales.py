from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.teacher.filters.registry import FilterName
from kard_ray.teacher.rationales import GENERATION, RATIONALES, TeacherConfig, count, requests, verify

TEXTS = {
    "p1": {"title": "Chile", "text": "The area of Chile is 756,102."},
    "p2": {"title": "Norway", "text": "The area of Norway is 323,802."},
}
QUESTIONS = [
    Question(
        question_id=f"q{n}",
        split="train" if n < 3 else "test",
        question="Is Chile larger than Norway?",
        options=("yes", "no"),
        answer=0,
        kind=("b", "a")[n % 2],
        gold_passages=("p1", "p2", "not in the knowledge base"),
    )
    for n in range(5)
]
BY_ID = {q.question_id: q for q in QUESTIONS}

GOOD = "756,102 is larger than 323,802. So the answer is yes."
ANOTHER = "756,102 is larger than 323,802. So the answer is no."
INVENTED = "The area of Peru is larger still. So the answer is yes."
FALSE = "323,802 is larger than 756,102. So the answer is yes."


def generated(texts: Sequence[str], *, errors: Sequence[str] | None = None) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "rationale_id": f"q{n % 5}#{n // 5}",
                "question_id": f"q{n % 5}",
                "split": BY_ID[f"q{n % 5}"].split,
                "sample": n // 5,
                "generated_text": text,
                "prompt_tokens": 10 + n,
                "generated_tokens": 5,
                "error": errors[n] if errors else "",
            }
            for n, text in enumerate(texts)
        ],
        schema=GENERATION,
    )


def test_every_question_asks_for_its_samples_and_test_questions_for_theirs() -> None:
    config = TeacherConfig(samples=3, test_samples=1)
    rows = requests(QUESTIONS, config, TEXTS, test_split="test").to_pylist()
    assert sorted(row["rationale_id"] for row in rows) == sorted(
        [f"q{n}#{s}" for n in range(3) for s in range(3)] + ["q3#0", "q4#0"]
    )
    assert all(row["rationale_id"] == f"{row['question_id']}#{row['sample']}" for row in rows)
    config = TeacherConfig(samples=3, test_samples=0)
    assert set(requests(QUESTIONS, config, TEXTS, test_split="test")["split"].to_pylist()) == {"train"}


def test_questions_of_a_kind_and_samples_of_a_question_stand_together() -> None:
    rows = requests(QUESTIONS, TeacherConfig(samples=2), TEXTS, test_split="test").to_pylist()
    kinds = [row["kind"] for row in rows]
    assert kinds == sorted(kinds)
    ids = [row["question_id"] for row in rows]
    assert len(list(dict.fromkeys(ids))) == sum(a != b for a, b in zip([None, *ids], ids, strict=False))


def test_gold_passages_are_shown_only_when_the_teacher_is_grounded() -> None:
    grounded = requests(QUESTIONS, TeacherConfig(grounding="gold"), TEXTS, test_split="test").to_pylist()
    assert {tuple(row["titles"]) for row in grounded} == {("Chile", "Norway")}
    alone = requests(QUESTIONS, TeacherConfig(grounding="none"), TEXTS, test_split="test").to_pylist()
    assert {tuple(row["texts"]) for row in alone} == {()}


def test_the_first_filter_that_objects_gives_the_reason_and_no_row_disappears() -> None:
    names: list[FilterName] = ["concludes", "supported", "true_comparisons"]
    written = generated(
        [f" {GOOD}\n", ANOTHER, INVENTED, FALSE, ""], errors=["", "", "", "", "out of memory"]
    )
    verified = verify(written, BY_ID, TEXTS, names, "text")
    assert verified.schema == RATIONALES
    assert verified["rationale_id"].to_pylist() == written["rationale_id"].to_pylist()
    assert verified["kept"].to_pylist() == [True, False, False, False, False]
    assert verified["dropped_by"].to_pylist() == ["", "concludes", "supported", "true_comparisons", "error"]
    assert verified["dropped_because"][4].as_py() == "out of memory"
    assert verified["rationale"][0].as_py() == GOOD
    assert verified["rationale"][2].as_py() == INVENTED


def test_without_filters_only_errors_are_dropped() -> None:
    written = generated([GOOD, ANOTHER, "", FALSE, ""], errors=["", "", "", "", "refused"])
    assert verify(written, BY_ID, TEXTS, (), "text")["kept"].to_pylist() == [True, True, True, True, False]


@given(st.lists(st.tuples(st.sampled_from([GOOD, ANOTHER, INVENTED, FALSE, ""]), st.booleans()), max_size=15))
def test_counts_add_up(rows: list[tuple[str, bool]]) -> None:
    written = generated([text for text, _ in rows], errors=["boom" if bad else "" for _, bad in rows])
    verified = verify(written, BY_ID, TEXTS, ["concludes", "supported", "true_comparisons"], "text")
    found = count(verified)
    assert found["samples"] == len(rows)
    assert found["kept"] + sum(found["dropped"].values()) == found["samples"]
    assert found["dropped"].get("error", 0) == sum(bad for _, bad in rows)
    assert found["questions_with_rationale"] + len(found["questions_without_rationale"]) == found["questions"]
    assert found["questions"] == len(set(written["question_id"].to_pylist()))
    assert found["prompt_tokens"] == sum(10 + n for n in range(len(rows)))
    assert found["generated_tokens"] == 5 * len(rows)
