"""One way to write a question and its conclusion, and to read an answer back.

Teacher, students, and evaluation all use these functions, so that no two of them differ by a word.
"""

from __future__ import annotations

import re
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


_ANSWER = re.compile(r"\banswer(?: is|:)\s*", re.IGNORECASE)
_NOT = re.compile(r"\W*(?:not|n['’]t)\b", re.IGNORECASE)  # "is not Lisbon" names no answer
# "(B)" anywhere, or "B", "B.", "B) ..." at the start; "A boat" and "I think" start with a word, not with a letter.
_LETTER = re.compile(r"\(([A-Z])\)|^\W*([A-Z])(?=\s*$|[^\w\s'’-])")


def concluded(text: str) -> tuple[str, bool]:
    """What follows the last "answer is", up to the end of its line, and True; without one the first line and False."""
    ends = [match.end() for match in _ANSWER.finditer(text)]
    tail = text[ends[-1] :] if ends else text
    return tail.strip().split("\n", 1)[0], bool(ends)


def denied(tail: str) -> bool:
    """Whether ``tail``, which follows "answer is", says what the answer is not."""
    return bool(_NOT.match(tail))


def parse_answer(text: str, options: Sequence[str], form: AnswerForm) -> int | None:
    """The option that ``text`` concludes with, or None when it names none or more than one.

    Reads what follows the last "answer is" (or the whole text when it has none), up to the end of its line.
    """
    tail, marked = concluded(text)
    not_so = marked and denied(tail)
    if form == "letter" and not not_so:
        letters = {(a or b) for a, b in _LETTER.findall(tail)} & set(LETTERS[: len(options)])
        if len(letters) == 1:
            return LETTERS.index(letters.pop())
    wanted = _normal(tail)
    exact = [i for i, option in enumerate(options) if _normal(option) == wanted]
    if len(exact) > 1:  # "WW or Ww" and "Ww or ww" are genotypes that only their case tells apart
        exact = [i for i in exact if _spaced(options[i]) == _spaced(tail)]
        return exact[0] if len(exact) == 1 else None
    if exact:
        return exact[0]
    named = _named(wanted, [_normal(option) for option in options])
    if not_so:  # only an option that itself begins so: "not guilty"
        named = {i for i in named if wanted.startswith(_normal(options[i]))}
    return named.pop() if len(named) == 1 else None


def _named(text: str, options: Sequence[str]) -> set[int]:
    """Options that ``text`` names: "Equatorial Guinea" does not name "Guinea", nor "-5.5" the number "5"."""
    spans = []
    for i, option in enumerate(options):
        minus = r"(?<!\s-)(?<!^-)" if option[:1].isdigit() else ""
        word = rf"{minus}(?<!\w)(?<!\d[.,]){re.escape(option)}(?!\w)(?![.,]\d)"
        spans += [(i, *match.span()) for match in re.finditer(word, text)]
    return {i for i, a, b in spans if not any(c <= a and b <= d and d - c > b - a for _, c, d in spans)}


def _spaced(text: str) -> str:
    return " ".join(text.split()).strip(" .!\"'")


def _normal(text: str) -> str:
    return _spaced(text.lower())
