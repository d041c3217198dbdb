from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.config import StudentConfig
from kard_ray.student.examples import build_examples, evidence_by_question
from kard_ray.student.methods.base import Evidence, Example
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.mixing import ANSWER_CUE, with_found
from tests.student.tables import QUESTIONS, rationales, silver

ROWS = rationales({f"q{n}": [True, True] for n in range(6)})
SILVER = silver([f"q{n}#{m}" for n in range(6) for m in range(2)])
FOUND = {f"q{n}": [("found", f"by q{n}")] for n in range(5)}  # q5 found nothing


def rows_of(method: MethodName, **settings: float) -> list[Example]:
    evidence = evidence_by_question(ROWS, SILVER, per_question=2, seed=0)
    return build_examples(
        QUESTIONS, evidence, METHODS[method], found=FOUND, passages=2, form="text", alpha=0.3,
        fractions=(1.0, 0.0), **settings,
    )  # fmt: skip


@given(share=st.floats(0, 1), count=st.integers(0, 30), name=st.text(max_size=5))
def test_passages_are_swapped_whole_and_nothing_else_changes(share: float, count: int, name: str) -> None:
    items = [Evidence(rationale=f"r{n}", silver=[("silver", f"{n}")]) for n in range(count)]
    found = [("found", "x")]
    mixed = with_found(items, found, share, name)
    assert mixed == with_found(items, found, share, name)
    assert [item.rationale for item in mixed] == [item.rationale for item in items]
    assert all(new.silver in (old.silver, found) for new, old in zip(mixed, items, strict=True))
    assert with_found(items, found, 0.0, name) == with_found(items, [], 1.0, name) == items
    assert all(item.silver == found for item in with_found(items, found, 1.0, name))


def test_about_that_share_of_rows_reads_what_questions_find() -> None:
    items = [Evidence(rationale="r", silver=[])] * 2000
    mixed = with_found(items, [("found", "x")], 0.3, "seed")
    assert 500 < sum(bool(item.silver) for item in mixed) < 700


@pytest.mark.parametrize("method", ["kard", "kard_intern"])
def test_methods_that_read_a_rationales_passages_read_what_questions_find(method: MethodName) -> None:
    shown = {
        row.question.question_id: row.passages for row in rows_of(method, found_share=1.0) if row.passages
    }
    assert {name: list(passages) for name, passages in shown.items() if name != "q5"} == FOUND
    assert shown["q5"][0][0] in ("q5#0", "q5#1")


@pytest.mark.parametrize("method", ["knowledge_finetune", "std_cot", "skintern"])
def test_other_methods_read_what_they_ever_read(method: MethodName) -> None:
    assert rows_of(method, found_share=1.0) == rows_of(method)


@pytest.mark.parametrize("method", ["std_cot", "kard", "skintern", "kard_intern"])
def test_one_row_per_question_answers_at_once_from_what_its_rationale_is_written_from(
    method: MethodName,
) -> None:
    plain, mixed = rows_of(method), rows_of(method, answer_weight=0.25)
    answers = [row for row in mixed if row.task == "answer"]
    assert [row.question.question_id for row in answers] == [q.question_id for q in QUESTIONS]
    assert {(row.cue, row.weight) for row in answers} == {(ANSWER_CUE, 0.25)}
    assert all(
        row.target == f"So the answer is {row.question.options[row.question.answer]}." for row in answers
    )
    assert {row.stage for row in answers} == {max(row.stage for row in plain)}
    reasoned = [row for row in mixed if row.task == "rationale"]
    assert [row.target for row in reasoned] == [row.target for row in plain]
    assert {row.weight for row in reasoned} == {0.75}
    for answer in answers:
        read = [r.passages for r in plain if r.question == answer.question and r.stage == answer.stage]
        assert answer.passages in read


@pytest.mark.parametrize(
    "method", ["finetune", "knowledge_finetune", "silver_finetune", "mt_cot", "cascod", "step_by_step"]
)
def test_methods_that_learn_answers_anyway_learn_nothing_more(method: MethodName) -> None:
    assert rows_of(method, answer_weight=0.25) == rows_of(method)


def test_the_published_objectives_leave_no_trace_in_a_students_key() -> None:
    assert not {"answer_weight", "found_share"} & set(StudentConfig().content())
    assert StudentConfig(found_share=0.5).content()["found_share"] == 0.5
