"""The teacher's prompt: answer-conditioned and few-shot (KARD, released generate_explanations.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kard_ray.benchmarks.question import WorkedExample
from kard_ray.benchmarks.rendering import AnswerForm, answer_text, conclusion, passages_block, question_block

INSTRUCTION = (
    "Explain step by step why the given answer is right, in one to four short sentences. "
    "Use only facts that are given. Finish with the sentence: So the answer is ..."
)


def teacher_messages(
    *,
    question: str,
    options: Sequence[str],
    answer: int,
    passages: Sequence[tuple[str, str]],
    examples: Sequence[WorkedExample],
    form: AnswerForm,
) -> list[dict[str, str]]:
    """Chat messages: the task, worked examples as earlier turns, then the question with its gold answer.

    The instruction and examples come first and are the same for all questions of a kind, so that the engine's
    prefix cache holds them (84 % of prompt tokens on the factbook).
    """
    messages = [{"role": "system", "content": INSTRUCTION}]
    for example in examples:
        shown = [("", text) for text in example.passages] if passages else []
        messages += [
            {
                "role": "user",
                "content": _turn(example.question, example.options, example.answer, shown, form),
            },
            {
                "role": "assistant",
                "content": f"{example.rationale} {conclusion(example.options, example.answer, form)}",
            },
        ]
    messages.append({"role": "user", "content": _turn(question, options, answer, passages, form)})
    return messages


def _turn(
    question: str, options: Sequence[str], answer: int, passages: Sequence[tuple[str, str]], form: AnswerForm
) -> str:
    parts = [passages_block("Facts", passages)] if passages else []
    parts += [question_block(question, options, form), f"Answer: {answer_text(options, answer, form)}"]
    return "\n".join(parts)


def plain_prompt(messages: Sequence[dict[str, str]]) -> str:
    """The same conversation for a model without a chat template: turns by blank lines, then ``Explanation:``."""
    lines = []
    for message in messages:
        lead = "Explanation: " if message["role"] == "assistant" else ""
        lines.append(lead + message["content"])
    return "\n\n".join(lines) + "\n\nExplanation:"


def prompt_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """Token ids of the conversation, ready for the teacher to go on writing; at most one BOS."""
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False).input_ids)  # the template wrote its own BOS
    return list(tokenizer(plain_prompt(messages)).input_ids)
