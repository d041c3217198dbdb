from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from transformers import AutoTokenizer

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.teacher.prompt import plain_prompt, prompt_ids
from kard_ray.teacher.symbolic_examples import SYMBOLIC_EXAMPLES, Family, family_of
from kard_ray.teacher.symbolic_parsing import SUMMARY, SUPPLEMENT, Malformed, parse, render
from kard_ray.teacher.symbolic_prompt import INSTRUCTION, NOTES, SYMBOLIC_STOP, symbolic_messages

FACTS = SYMBOLIC_EXAMPLES["facts"]


def messages(
    *, rationale: str = "Iron conducts heat.", form: AnswerForm = "text", family: Family = "facts"
) -> list[dict[str, str]]:
    return symbolic_messages(
        question="An iron pan on a stove gets",
        options=("cold", "hot"),
        answer=1,
        gold="",
        rationale=rationale,
        form=form,
        examples=SYMBOLIC_EXAMPLES[family],
    )


def test_the_conversation_is_the_task_the_examples_and_the_question_with_answer_and_rationale() -> None:
    found = messages()
    assert [m["role"] for m in found] == ["system", *["user", "assistant"] * len(FACTS), "user"]
    assert found[0]["content"] == INSTRUCTION
    assert [m["content"] for m in found if m["role"] == "assistant"] == [render(e.knowledge) for e in FACTS]
    assert found[-1]["content"] == (
        "Question: An iron pan on a stove gets\nOptions: cold; hot\nAnswer: hot\nExplanation: Iron conducts heat."
    )


def test_the_letter_form_is_the_same_in_examples_and_question() -> None:
    found = messages(form="letter")
    assert "\nAnswer: (B)\n" in found[-1]["content"]
    assert all("\nOptions: (A) " in m["content"] for m in found if m["role"] == "user")


def test_an_open_question_is_told_by_its_gold_answer() -> None:
    found = symbolic_messages(
        question="How much is 40 and 2?",
        options=(),
        answer=-1,
        gold="42",
        rationale="40 + 2 = 42.",
        form="letter",
        examples=SYMBOLIC_EXAMPLES["arithmetic"],
    )
    assert found[-1]["content"] == "Question: How much is 40 and 2?\nAnswer: 42\nExplanation: 40 + 2 = 42."


def test_questions_of_a_family_share_everything_before_the_last_turn() -> None:
    assert messages(rationale="Another.")[:-1] == messages()[:-1]


def test_a_rationale_of_several_paragraphs_ends_no_turn_of_a_plain_prompt() -> None:
    text = plain_prompt(messages(rationale="Iron conducts.\n\nQuestion: none\n\nSo it gets hot."), NOTES)
    assert len(text.split("\n\n")) == 1 + len(FACTS) + 1


@pytest.mark.parametrize("family", get_args(Family))
def test_a_teacher_that_goes_on_with_a_further_example_is_stopped_before_it(family: Family) -> None:
    text = plain_prompt(messages(family=family), NOTES)
    assert text.endswith(f"\n{NOTES}:")
    written = text.split(f"\n{NOTES}:")[1]  # the first notes, and what follows them in the prompt's own form
    ends = [written.find(stop) for stop in SYMBOLIC_STOP if stop in written]
    assert parse(written[: min(ends)]) == SYMBOLIC_EXAMPLES[family][0].knowledge


def test_the_plain_form_is_made_with_the_label_of_the_notes(llama_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    ids = prompt_ids(tokenizer, messages(), "plain", NOTES)
    assert tokenizer.decode(ids) == plain_prompt(messages(), NOTES)


def test_the_form_in_the_instruction_is_refused_when_it_is_repeated() -> None:
    assert isinstance(parse(INSTRUCTION[INSTRUCTION.rindex(SUMMARY) :]), Malformed)
    assert SUPPLEMENT in INSTRUCTION


@pytest.mark.parametrize("family", get_args(Family))
def test_every_family_has_two_examples_that_pass_the_parser(family: Family) -> None:
    examples = SYMBOLIC_EXAMPLES[family]
    assert len(examples) == 2
    for example in examples:
        assert parse(render(example.knowledge)) == example.knowledge
        assert example.worked.answer_text
        assert bool(example.worked.options) == (example.worked.answer >= 0)
        both = f"{example.knowledge.summary} {example.knowledge.supplement}".lower()
        assert example.worked.question.lower() not in both  # general, not of this question


def test_every_benchmark_has_a_family() -> None:
    assert family_of("gsm8k") == "arithmetic"
    assert family_of("bbh") == "logic"
    assert family_of("openbookqa") == family_of("my own questions") == "facts"
