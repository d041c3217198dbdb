"""Read the answer of any question: an option, a number, a text, or the brackets that close a sequence.

The teacher's filters and the evaluation both ask :func:`read_answer`, so that what counts as right is decided once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from kard_ray.benchmarks.rendering import AnswerForm, concluded, denied, parse_answer

# How an open question's answer is read and compared; it follows from the gold answer (:func:`open_kind`).
OpenKind = Literal["number", "brackets", "text"]

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)\]])[-\u2212](?=[$€£]?\.?[0-9]))?[$€£]?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
)
_HASHES = re.compile(r".*####(.*)", re.DOTALL)  # GSM8K's own mark of the answer
_BRACKETS = re.compile(r"[()\[\]{}<>][()\[\]{}<>\s]*")
_MARKUP = re.compile(r"\*\*|`")


class Asked(Protocol):
    """What the right answer is known from: a question, a worked example, or a rationale to be judged."""

    @property
    def options(self) -> Sequence[str]:
        """The options; none for an open question."""
        ...

    @property
    def answer(self) -> int:
        """Index of the gold option."""
        ...

    @property
    def gold(self) -> str:
        """The gold answer of an open question."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What could be read: ``text`` is the option or the open answer; ``option`` is None for an open question."""

    text: str
    option: int | None
    correct: bool


def read_answer(text: str, asked: Asked, form: AnswerForm) -> Answer | None:
    """The answer that ``text`` concludes with, or None when none can be read."""
    if asked.options:
        option = parse_answer(text, asked.options, form)
        if option is None:
            return None
        return Answer(text=asked.options[option], option=option, correct=option == asked.answer)
    kind = open_kind(asked.gold)
    given = parse_open(text, kind)
    if given is None:
        return None
    return Answer(text=given, option=None, correct=answers_match(given, asked.gold, kind))


def open_kind(gold: str) -> OpenKind:
    """How an answer is compared with ``gold``: "1,200" is a number, ") ]" closes brackets, all else is text."""
    if _NUMBER.fullmatch(gold.strip()):
        return "number"
    return "brackets" if _BRACKETS.fullmatch(gold.strip()) else "text"


def parse_open(text: str, kind: OpenKind) -> str | None:
    """The open answer that ``text`` concludes with, or None when it holds none.

    What follows the last "answer is" counts. Without it, a number is the last one of the whole text (SKIntern, released
    metric_utils.py); brackets and texts must then be all that was written.
    """
    tail, marked = concluded(text)
    if marked and denied(tail) and kind != "text":  # a text may itself begin with "not"
        return None
    if kind == "number":
        return _number(text, tail if marked else "")
    tail = _MARKUP.sub("", tail).strip(" :")
    if kind == "brackets":
        runs = [" ".join(run.split()) for run in _BRACKETS.findall(tail)]
        return runs[0] if runs and (marked or _BRACKETS.fullmatch(tail)) else None
    alone = marked or len(text.strip().splitlines()) == 1
    return (tail.rstrip(" .") or None) if alone else None


def answers_match(given: str, gold: str, kind: OpenKind) -> bool:
    """Whether ``given`` is ``gold``.

    Numbers are compared by value ("$1,200.00" is "1200"), brackets without spaces, texts without case, commas, spaces
    and closing punctuation.
    """
    if kind == "number":
        return numbers_in(given) == numbers_in(gold)
    if kind == "brackets":
        return "".join(given.split()) == "".join(gold.split())
    return _words(given) == _words(gold)


def numbers_in(text: str) -> list[str]:
    """All numbers of ``text`` in one form: no separators, no currency, no zeros that do not count ("72.0" is "72")."""
    return [_plain(match) for match in _NUMBER.finditer(text)]


def _plain(match: re.Match[str]) -> str:
    whole, _, fraction = match["digits"].replace(",", "").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    value = f"{whole}.{fraction}" if fraction else whole
    return f"-{value}" if match["sign"] and value != "0" else value


def _number(text: str, tail: str) -> str | None:
    """The first number of ``tail`` (behind its last "=": "48 + 24 = 72"), else the last one of ``text``."""
    if not tail and (hashes := _HASHES.match(text)):
        tail = hashes[1].strip().split("\n", 1)[0]
    for part in (tail.rpartition("=")[2], tail):
        if found := numbers_in(part):
            return found[0]
    found = numbers_in(text)
    return found[-1] if found else None


def _words(text: str) -> list[str]:
    return _MARKUP.sub("", text).lower().replace(",", " ").strip(" .!\"'").split()
