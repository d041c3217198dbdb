"""The teacher's prompt: answer-conditioned and few-shot (KARD, released generate_explanations.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from kard_ray.benchmarks.question import WorkedExample
from kard_ray.benchmarks.rendering import AnswerForm, answer_text, conclusion, passages_block, question_block
from kard_ray.runtime.special_tokens import neutralised, token_ids_of_text
from kard_ray.teacher.structured import INSTRUCTION as STRUCTURED_INSTRUCTION
from kard_ray.teacher.structured import as_json

# A small instruct model imitates worked examples better when it continues a text than in a chat: 37 % against 28 % of
# SmolLM2-135M's samples were kept on the factbook (192 samples, T = 0.7, focused facts).
TeacherTemplate = Literal["chat", "plain"]

TEMPLATE_VERSION = 1  # raised with every change of how prompts are written; part of the ledger's keys

INSTRUCTION = (
    "Explain step by step why the given answer is right, in one to four short sentences. "
    "Use only facts that are given. Finish with the sentence: So the answer is ..."
)


def teacher_messages(
    *,
    question: str,
    options: Sequence[str],
    answer: int,
    facts: Sequence[str],
    examples: Sequence[WorkedExample],
    form: AnswerForm,
    gold: str = "",
    structured: bool = False,
) -> list[dict[str, str]]:
    """Chat messages: the task, worked examples as earlier turns, then the question with its gold answer.

    The instruction and examples come first and are the same for all questions of a kind, so that the engine's
    prefix cache holds them. ``gold`` is the answer of a question without options.
    """
    messages = [{"role": "system", "content": STRUCTURED_INSTRUCTION if structured else INSTRUCTION}]
    for example in examples:
        shown = example.passages if facts else ()
        asked = (example.options, example.answer, form, example.gold)
        if structured:
            said = as_json(example.rationale, answer_text(*asked))
        else:
            said = f"{example.rationale} {conclusion(*asked)}"
        messages += [
            {
                "role": "user",
                "content": _turn(
                    example.question, example.options, example.answer, shown, form, example.gold
                ),
            },
            {
                "role": "assistant",
                "content": said,
            },
        ]
    messages.append({"role": "user", "content": _turn(question, options, answer, facts, form, gold)})
    return messages


def _turn(
    question: str, options: Sequence[str], answer: int, facts: Sequence[str], form: AnswerForm, gold: str
) -> str:
    parts = [passages_block("Facts", [("", fact) for fact in facts])] if facts else []
    parts += [question_block(question, options, form), f"Answer: {answer_text(options, answer, form, gold)}"]
    return "\n".join(parts)


def plain_prompt(messages: Sequence[dict[str, str]], label: str = "Explanation") -> str:
    """The same conversation as one text to be continued: examples by blank lines, each with its ``label:``."""
    text = ""
    for message in messages:
        if message["role"] == "assistant":
            text += f"\n{label}: {message['content']}"
        else:
            text += ("\n\n" if text else "") + message["content"]
    return f"{text}\n{label}:"


PLAIN_STOP = ("\n\n", "\nFacts:", "\nQuestion:")  # a plain prompt is continued with the next example


def prompt_ids(
    tokenizer: Any,
    messages: Sequence[dict[str, str]],
    template: TeacherTemplate,
    label: str = "Explanation",
) -> list[int]:
    """Token ids of the conversation, ready for the teacher to go on writing; at most one BOS.

    ``template`` "chat" falls back to the plain form for a tokenizer without a chat template; ``label`` is of the plain
    form. Special tokens written in the messages stay text.
    """
    if template == "chat" and tokenizer.chat_template:
        harmless = [
            {**message, "content": neutralised(tokenizer, message["content"])} for message in messages
        ]
        text = tokenizer.apply_chat_template(harmless, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False).input_ids)  # the template wrote its own BOS
    return token_ids_of_text(tokenizer, plain_prompt(messages, label))
