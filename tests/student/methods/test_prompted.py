from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.student.methods.prompted import SHOTS, worked_shots
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.rendering import Renderer, RenderingConfig, next_cue, opening

PROMPTED = [name for name, method in METHODS.items() if not method.trained]
WORKED = [
    WorkedExample(
        question=f"Is {n} even?",
        options=("yes", "no"),
        answer=n % 2,
        rationale=f"{n} is {n}.",
        passages=(f"About {n}.",),
    )
    for n in range(7)
]
QUESTION = Question(question_id="q", split="test", question="Which?", options=("Lisbon", "Porto"), answer=1)


@pytest.fixture(scope="module")
def tokenizer(llama_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(llama_folder)


def prompt(
    tokenizer: Any, name: MethodName, template: Any = "plain", written: list[str] | None = None
) -> str:
    mine = Renderer(tokenizer, RenderingConfig(template=template, max_prompt_tokens=10_000), "text")
    method = METHODS[name]
    passages = [("Portugal", "Two towns.")] if method.passages_from != "none" else []
    ids = mine.prompt_ids(
        QUESTION.question,
        QUESTION.options,
        passages,
        next_cue(method.cues, written or []),
        shots=worked_shots(method, WORKED, "text"),
    )
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def test_there_are_four_baselines_each_with_and_without_passages() -> None:
    plain = ["zero_shot", "zero_shot_cot", "few_shot", "few_shot_cot"]
    assert [*plain, *(f"{name}_knowledge" for name in plain)] == PROMPTED
    for name in PROMPTED:
        assert (METHODS[name].passages_from == "question") == name.endswith("_knowledge")
        assert bool(METHODS[name].shots) == name.startswith("few_shot")


def test_a_direct_answer_is_begun_by_the_prompt(tokenizer: Any) -> None:
    asked = "Question: Which?\nOptions: Lisbon; Porto"
    assert prompt(tokenizer, "zero_shot") == f"{asked}\nSo the answer is"
    assert (
        prompt(tokenizer, "zero_shot_knowledge")
        == f"Knowledge:\nPortugal: Two towns.\n{asked}\nSo the answer is"
    )
    assert prompt(tokenizer, "zero_shot", "chat") == (
        f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\nSo the answer is"
    )


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_zero_shot_cot_asks_for_steps_and_then_for_the_answer_behind_them(
    tokenizer: Any, template: str
) -> None:
    first = prompt(tokenizer, "zero_shot_cot", template)
    assert first.endswith("Let's think step by step.")
    assert prompt(tokenizer, "zero_shot_cot", template, [" Porto it is.\n"]) == (
        f"{first} Porto it is.\nSo the answer is"
    )


def test_worked_examples_are_answered_as_the_question_is_to_be(tokenizer: Any) -> None:
    text = prompt(tokenizer, "few_shot")
    assert text.count("Question: ") == SHOTS + 1
    assert "Question: Is 3 even?\nOptions: yes; no\nSo the answer is no.\n\nQuestion: Is 2" in text
    assert "is 3." not in text
    assert "Knowledge" not in text
    steps = prompt(tokenizer, "few_shot_cot_knowledge")
    assert (
        "Knowledge:\nAbout 1.\nQuestion: Is 1 even?\nOptions: yes; no\n"
        "Let's think step by step. 1 is 1. So the answer is no.\n\nKnowledge:\nAbout 0."
    ) in steps
    assert steps.endswith("Options: Lisbon; Porto\nLet's think step by step.")


@pytest.mark.parametrize("name", PROMPTED)
@pytest.mark.parametrize("form", ["text", "letter"])
def test_an_example_begins_with_the_cue_that_the_question_ends_with(name: MethodName, form: Any) -> None:
    method = METHODS[name]
    shots = worked_shots(method, WORKED, form)
    assert len(shots) == method.shots
    assert all(shot.written.startswith(method.cues[0]) for shot in shots)
    for shot, example in zip(shots, WORKED, strict=False):
        answer = read_answer(shot.written, example, form)
        assert answer is not None
        assert answer.correct


NUMBER = Question(question_id="q", split="test", question="How many?", gold="18")


@pytest.mark.parametrize(
    ("question", "form", "written"),
    [
        (QUESTION, "text", " Porto.\n"),
        (QUESTION, "text", " Porto, the town in the north.\n"),
        (QUESTION, "letter", " (B).\nQuestion: Which?\nSo the answer is (A)."),
        (NUMBER, "text", " 18. She sells 9 of them for 2 dollars"),
        (NUMBER, "text", " $18.00."),
    ],
)
def test_what_a_model_writes_behind_the_begun_answer_can_be_read(
    question: Question, form: Any, written: str
) -> None:
    answer = read_answer(opening(METHODS["zero_shot"].cues[-1]) + written, question, form)
    assert answer is not None
    assert answer.correct
