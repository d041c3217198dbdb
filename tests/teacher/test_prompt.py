from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from kard_ray.benchmarks.question import WorkedExample
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.teacher.prompt import INSTRUCTION, plain_prompt, prompt_ids, teacher_messages

EXAMPLE = WorkedExample(
    question="Is Chile larger than Norway?",
    options=("yes", "no"),
    answer=0,
    passages=("Chile: 756,102.", "Norway: 323,802."),
    rationale="756,102 is larger than 323,802.",
)


def messages(
    *,
    passages: tuple[tuple[str, str], ...] = (("Peru", "1,285,216."),),
    examples: tuple[WorkedExample, ...] = (EXAMPLE,),
    form: AnswerForm = "text",
) -> list[dict[str, str]]:
    return teacher_messages(
        question="Is Peru larger than Chile?",
        options=("yes", "no"),
        answer=0,
        passages=passages,
        examples=examples,
        form=form,
    )


@pytest.fixture
def tokenizer(llama_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(llama_folder)


def test_the_conversation_is_the_task_the_examples_and_the_question() -> None:
    found = messages()
    assert [m["role"] for m in found] == ["system", "user", "assistant", "user"]
    assert found[0]["content"] == INSTRUCTION
    assert found[2]["content"] == "756,102 is larger than 323,802. So the answer is yes."
    assert found[3]["content"] == (
        "Facts:\nPeru: 1,285,216.\nQuestion: Is Peru larger than Chile?\nOptions: yes; no\nAnswer: yes"
    )


def test_without_passages_no_example_shows_any_either() -> None:
    assert not any("Facts" in m["content"] for m in messages(passages=()))


def test_the_letter_form_is_the_same_in_question_answer_and_conclusion() -> None:
    found = messages(form="letter")
    assert found[2]["content"].endswith("So the answer is (A).")
    assert found[3]["content"].endswith("Options: (A) yes (B) no\nAnswer: (A)")


def test_questions_of_a_kind_share_everything_before_the_last_turn() -> None:
    other = teacher_messages(
        question="Another?",
        options=("a", "b"),
        answer=1,
        passages=[("T", "x")],
        examples=[EXAMPLE],
        form="text",
    )
    assert other[:-1] == messages()[:-1]


def test_the_plain_prompt_ends_where_the_teacher_goes_on() -> None:
    text = plain_prompt(messages())
    assert text.endswith("Answer: yes\n\nExplanation:")
    assert "Explanation: 756,102 is larger than 323,802. So the answer is yes.\n\n" in text


def test_a_chat_model_is_asked_through_its_template(tokenizer: Any) -> None:
    text = tokenizer.decode(prompt_ids(tokenizer, messages()))
    assert text.startswith("<|im_start|>system\n" + INSTRUCTION)
    assert text.endswith("Answer: yes<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("template_writes_bos", [True, False])
@pytest.mark.parametrize("chat", [True, False])
def test_a_prompt_has_at_most_one_bos(tokenizer: Any, *, template_writes_bos: bool, chat: bool) -> None:
    bos = "<|endoftext|>"
    tokenizer.bos_token = bos
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    template = tokenizer.chat_template
    if not chat:
        tokenizer.chat_template = None
    elif template_writes_bos:
        tokenizer.chat_template = "{{ bos_token }}" + template
    ids = prompt_ids(tokenizer, messages())
    assert ids.count(tokenizer.bos_token_id) == (1 if not chat or template_writes_bos else 0)
