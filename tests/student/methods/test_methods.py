from __future__ import annotations

from typing import get_args

import pytest

from kard_ray.benchmarks.question import Question
from kard_ray.student.methods.base import Evidence
from kard_ray.student.methods.registry import METHODS, MethodName

QUESTION = Question(question_id="q", split="train", question="Which?", options=("Lisbon", "Porto"), answer=1)
EVIDENCE = [
    Evidence(rationale="One. So the answer is Porto.", silver=[("A", "a"), ("B", "b"), ("C", "c")]),
    Evidence(rationale="Two. So the answer is Porto.", silver=[("D", "d")]),
]


def test_every_name_of_a_recipe_has_a_method_of_that_name() -> None:
    assert tuple(METHODS) == get_args(MethodName)
    assert all(method.name == name for name, method in METHODS.items())


@pytest.mark.parametrize(
    ("form", "target"), [("text", "So the answer is Porto."), ("letter", "So the answer is (B).")]
)
def test_fine_tuning_learns_the_conclusion_once_whatever_the_evidence(form: str, target: str) -> None:
    (row,) = METHODS["finetune"].examples(QUESTION, EVIDENCE, passages=3, form=form)
    assert (row.target, tuple(row.passages)) == (target, ())


def test_fine_tuning_learns_an_open_questions_answer() -> None:
    question = Question(question_id="q", split="train", question="How many?", gold="72")
    (row,) = METHODS["finetune"].examples(question, EVIDENCE, passages=3, form="letter")
    assert row.target == "So the answer is 72."


def test_std_cot_learns_every_rationale_without_passages() -> None:
    rows = list(METHODS["std_cot"].examples(QUESTION, EVIDENCE, passages=3, form="text"))
    assert [row.target for row in rows] == [item.rationale for item in EVIDENCE]
    assert all(not row.passages for row in rows)


def test_kard_learns_every_rationale_from_its_own_silver_passages() -> None:
    rows = list(METHODS["kard"].examples(QUESTION, EVIDENCE, passages=2, form="text"))
    assert [row.target for row in rows] == [item.rationale for item in EVIDENCE]
    assert [list(row.passages) for row in rows] == [[("A", "a"), ("B", "b")], [("D", "d")]]


def test_kard_without_passages_learns_what_std_cot_learns() -> None:
    kard = list(METHODS["kard"].examples(QUESTION, EVIDENCE, passages=0, form="text"))
    assert kard == list(METHODS["std_cot"].examples(QUESTION, EVIDENCE, passages=0, form="text"))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_says_truly_what_it_reads(name: MethodName) -> None:
    method = METHODS[name]
    rows = list(method.examples(QUESTION, EVIDENCE, passages=2, form="text"))
    assert any(row.passages for row in rows) == method.uses_passages
    none = list(method.examples(QUESTION, [], passages=2, form="text"))
    assert bool(none) != method.uses_rationales
