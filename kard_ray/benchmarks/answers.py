"""Read the answer of any question: an option, a number, a text, brackets that close a sequence, or that there is none.

The teacher's filters and the evaluation both ask :func:`read_answer`, so that what counts as right is decided once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

from kard_ray.benchmarks.reading import concluded, denied, last_sentence, parse_answer, reply
from kard_ray.benchmarks.rendering import AnswerForm

# How an open question's answer is read and compared; it follows from the gold answer (:func:`open_kind`).
OpenKind = Literal["number", "brackets", "text", "none"]

NO_ANSWER = "None"  # the gold answer of a question that lacks what it takes to answer it (GSM-Plus, critical thinking)

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)\]])[-\u2212](?=[$€£]?\.?[0-9]))?[$€£]?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
)
# "1/3" and "2 1/2", but not a date such as 3/10/2015
_FRACTION = re.compile(
    r"(?P<sign>(?<![\w.)\]])[-\u2212])?(?<![\w./])(?:(?P<whole>[0-9]+) )?"
    r"(?P<top>[0-9]+)/(?P<low>[0-9]*[1-9][0-9]*)(?![\w/]|\.[0-9])"
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_LATEX_LAYOUT = re.compile(r"\\left|\\right|\\[!,;]|[\s$]")
_UNKNOWN = re.compile(
    r"\b(?:none|unknown|undetermined|unanswerable|indeterminate|insufficient|impossible)\b"
    r"|(?:not|n['’]t) (?:have |give |provide |contain |be )?(?:us )?"
    r"(?:enough|sufficient|possible|known?|specif|given|determin|provide)"
    r"|(?:can ?not|can['’]t|unable to|impossible to|not able to) (?:be )?"
    r"(?:determine|calculate|answer|know|tell|say|find|solve)",
    re.IGNORECASE,
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
    """How an answer is compared with ``gold``: "1,200" and "1/3" are numbers, ") ]" closes brackets, all else is text.

    NO_ANSWER is compared with whether a text says that there is none.
    """
    plain = _LATEX_FRACTION.sub(r"\1/\2", gold.strip())
    if plain == NO_ANSWER:
        return "none"
    if _NUMBER.fullmatch(plain) or _FRACTION.fullmatch(plain):
        return "number"
    return "brackets" if _BRACKETS.fullmatch(gold.strip()) else "text"


def parse_open(text: str, kind: OpenKind) -> str | None:
    """The open answer that ``text`` concludes with, or None when it holds none.

    What follows the last "answer is" counts. Without it, a number is the last one of the whole text (SKIntern, released
    metric_utils.py) unless that ends in saying that there is none; brackets and texts must then be all that was
    written.
    """
    tail, marked = concluded(text)
    if kind in ("number", "none") and _says_unknown(tail if marked else last_sentence(text), marked):
        return NO_ANSWER if kind == "none" else None
    if marked and denied(tail) and kind != "text":  # a text may itself begin with "not"
        return None
    if kind in ("number", "none"):
        return _number(reply(text), tail if marked else "")
    tail = _MARKUP.sub("", tail).strip(" :")
    if kind == "brackets":
        runs = [" ".join(run.split()) for run in _BRACKETS.findall(tail)]
        return runs[0] if runs and (marked or _BRACKETS.fullmatch(tail)) else None
    alone = marked or len(text.strip().splitlines()) == 1
    return (tail.rstrip(" .") or None) if alone else None


def answers_match(given: str, gold: str, kind: OpenKind) -> bool:
    """Whether ``given`` is ``gold``.

    Numbers are compared by value ("$1,200.00" is "1200", "1/2" is "0.5"), brackets without spaces, texts without case,
    commas, spaces and closing punctuation, and formulas also without what only lays them out.
    """
    if kind == "number":
        return _quantities(given) == _quantities(gold)
    if kind == "brackets":
        return "".join(given.split()) == "".join(gold.split())
    if "\\" in gold and _formula(given) == _formula(gold):
        return True
    return _words(given) == _words(gold)


def numbers_in(text: str) -> list[str]:
    """All numbers of ``text`` in one form: no separators, no currency, no zeros that do not count ("72.0" is "72")."""
    return [_plain(match) for match in _NUMBER.finditer(text)]


def _says_unknown(ending: str, marked: bool) -> bool:
    """Whether ``ending`` says that there is no answer; "the answer is 5, as none may be left" gives one first."""
    found = _UNKNOWN.search(ending)
    return found is not None and not (marked and numbers_in(ending[: found.start()]))


def _values(text: str) -> list[str]:
    """As :func:`numbers_in`, but a fraction is one number: "1/3", and "5/2" for "2 1/2"."""
    text = _LATEX_FRACTION.sub(r"\1/\2", text)
    found = []
    at = 0
    for match in _FRACTION.finditer(text):
        found += numbers_in(text[at : match.start()])
        top, low = int(match["top"]), int(match["low"])
        found.append(f"{'-' if match['sign'] else ''}{top + int(match['whole'] or 0) * low}/{low}")
        at = match.end()
    return found + numbers_in(text[at:])


def _quantities(text: str) -> list[Fraction]:
    return [Fraction(value) for value in _values(text)]


def _formula(text: str) -> str:
    return _LATEX_LAYOUT.sub("", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").rstrip(".")


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
        if found := _values(part):
            return found[0]
    found = _values(text)
    return found[-1] if found else None


def _words(text: str) -> list[str]:
    return _MARKUP.sub("", text).lower().replace(",", " ").strip(" .!\"'").split()
