"""One way to write a question and its conclusion.

Teacher, students, and evaluation all use these functions, so that no two of them differ by a word. Answers are read
back in :mod:`kard_ray.benchmarks.reading` and :mod:`kard_ray.benchmarks.answers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

# "text": the option itself is written ("So the answer is Lisbon."): a small model copies better than it binds letters.
# "letter": the option's letter ("So the answer is (B)."), for long options, as in KARD's released code.
AnswerForm = Literal["text", "letter"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def question_block(question: str, options: Sequence[str], form: AnswerForm) -> str:
    """``Question: …`` and ``Options: …`` as they stand in every prompt; an open question has no second line."""
    if not options:
        return f"Question: {question}"
    if form == "letter":
        listed = " ".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    else:
        listed = "; ".join(options)
    return f"Question: {question}\nOptions: {listed}"


def passages_block(label: str, passages: Sequence[tuple[str, str]]) -> str:
    """``label`` and one line per passage (title, text)."""
    return "\n".join([f"{label}:", *(f"{title}: {text}" if title else text for title, text in passages)])


def answer_text(options: Sequence[str], answer: int, form: AnswerForm, gold: str = "") -> str:
    """What stands for option ``answer`` in a conclusion; without options ``gold``, the open question's answer."""
    if not options:
        return gold
    return f"({LETTERS[answer]})" if form == "letter" else options[answer]


def conclusion(options: Sequence[str], answer: int, form: AnswerForm, gold: str = "") -> str:
    """The closing sentence of every rationale and every student's target."""
    return f"So the answer is {answer_text(options, answer, form, gold)}."
