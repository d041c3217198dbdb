from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.student.methods.base import Evidence
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.rendering import DEFAULT_CUE
from tests.student.methods.rows import EVIDENCE, FOUND, FRACTIONS, rows_of

TRAINED = [name for name, method in METHODS.items() if method.trained]


def test_every_name_of_a_recipe_has_a_method_of_that_name() -> None:
    assert tuple(METHODS) == get_args(MethodName)
    assert all(method.name == name for name, method in METHODS.items())


@pytest.mark.parametrize(
    ("form", "target"), [("text", "So the answer is Porto."), ("letter", "So the answer is (B).")]
)
def test_fine_tuning_learns_the_conclusion_once_whatever_the_evidence(form: str, target: str) -> None:
    (row,) = rows_of("finetune", form=form)
    assert (row.target, tuple(row.passages)) == (target, ())


def test_fine_tuning_learns_an_open_questions_answer() -> None:
    question = Question(question_id="q", split="train", question="How many?", gold="72")
    (row,) = rows_of("finetune", question, form="letter")
    assert row.target == "So the answer is 72."


def test_knowledge_augmented_fine_tuning_learns_the_conclusion_from_what_the_question_finds() -> None:
    (row,) = rows_of("knowledge_finetune", passages=2)
    assert (row.target, list(row.passages)) == ("So the answer is Porto.", FOUND[:2])
    assert rows_of("knowledge_finetune", passages=0) == rows_of("finetune")


def test_the_control_of_kard_learns_the_conclusion_from_each_rationales_silver_passages() -> None:
    rows = rows_of("silver_finetune", passages=2)
    assert [row.target for row in rows] == ["So the answer is Porto."] * len(EVIDENCE)
    assert [row.passages for row in rows] == [row.passages for row in rows_of("kard", passages=2)]


def test_std_cot_learns_every_rationale_without_passages() -> None:
    rows = rows_of("std_cot")
    assert [row.target for row in rows] == [item.rationale for item in EVIDENCE]
    assert all(not row.passages for row in rows)


def test_kard_learns_every_rationale_from_its_own_silver_passages() -> None:
    rows = rows_of("kard", passages=2)
    assert [row.target for row in rows] == [item.rationale for item in EVIDENCE]
    assert [list(row.passages) for row in rows] == [[("A", "a"), ("B", "b")], [("D", "d")]]


def test_kard_without_passages_learns_what_std_cot_learns() -> None:
    assert rows_of("kard", passages=0) == rows_of("std_cot", passages=0)


@pytest.mark.parametrize(
    ("form", "answer"), [("text", "So the answer is Porto."), ("letter", "So the answer is (B).")]
)
def test_mt_cot_learns_whole_rationales_and_answers_each_by_its_own_cue(form: str, answer: str) -> None:
    explanation, prediction = "[Explanation Generation]:", "[Answer Prediction]:"
    assert [(row.cue, row.target) for row in rows_of("mt_cot", form=form)] == [
        (explanation, "One. So the answer is Porto."),
        (prediction, answer),
        (explanation, "Two. So the answer is Porto."),
        (prediction, answer),
    ]


def test_step_by_step_learns_rationales_without_their_conclusions_and_answers() -> None:
    assert [(row.cue, row.target) for row in rows_of("step_by_step")] == [
        ("Rationale:", "One."),
        ("Answer:", "So the answer is Porto."),
        ("Rationale:", "Two."),
        ("Answer:", "So the answer is Porto."),
    ]


def test_a_rationale_that_only_concludes_teaches_step_by_step_the_answer_alone() -> None:
    (row,) = rows_of("step_by_step", evidence=[Evidence(rationale="So the answer is Porto.", silver=[])])
    assert (row.cue, row.target) == ("Answer:", "So the answer is Porto.")


@pytest.mark.parametrize("name", TRAINED)
@given(alpha=st.floats(0, 1))
def test_alpha_is_the_answers_share_of_two_tasks_and_nothing_else(name: MethodName, alpha: float) -> None:
    method = METHODS[name]
    rows = rows_of(name, alpha=alpha)
    if not method.multi_task:
        assert {(row.cue, row.weight) for row in rows} == {(DEFAULT_CUE, 1.0)}
        return
    answers = {row.weight for row in rows if row.cue.endswith(method.cues[-1])}
    assert answers == {alpha}
    assert {row.weight for row in rows if not row.cue.endswith(method.cues[-1])} == {1.0 - alpha}


@pytest.mark.parametrize("name", TRAINED)
def test_what_follows_the_cue_that_a_student_is_asked_with_ends_in_the_answer(name: MethodName) -> None:
    asked = [row.target for row in rows_of(name) if row.cue.endswith(METHODS[name].cues[-1])]
    assert asked
    assert all(target.endswith("So the answer is Porto.") for target in asked)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_says_truly_what_it_reads_and_whether_it_learns(name: MethodName) -> None:
    method = METHODS[name]
    sources = {"question": FOUND, "rationale": [p for item in EVIDENCE for p in item.silver], "none": []}
    rows = rows_of(name, passages=2)
    shown = {passage for row in rows for passage in row.passages}
    assert shown <= set(sources[method.passages_from])
    assert bool(shown) == (method.trained and method.passages_from != "none")
    assert bool(rows) == method.trained
    assert bool(rows_of(name, evidence=[], passages=2)) == (method.trained and not method.uses_rationales)


@pytest.mark.parametrize("name", TRAINED)
def test_only_a_curriculum_has_stages_notes_or_examples(name: MethodName) -> None:
    curriculum, rows = METHODS[name].curriculum, rows_of(name)
    assert {row.stage for row in rows} == ({1} if curriculum == "none" else {1, 2, 3, 4})
    assert any(row.help or row.shots for row in rows) == (curriculum == "symbolic")


@pytest.mark.parametrize("name", TRAINED)
def test_the_last_stage_of_a_curriculum_asks_as_at_test(name: MethodName) -> None:
    """What a student is asked with at test, the passages apart, it has been trained with last."""
    last = len(FRACTIONS) if METHODS[name].curriculum != "none" else 1
    rows = [row for row in rows_of(name) if row.stage == last and row.cue.endswith(METHODS[name].cues[-1])]
    assert rows
    assert all(row.help is None and not row.shots for row in rows)
