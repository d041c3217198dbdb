"""Keep a rationale only if every number and named entity in it stands in the question or its passages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kard_ray.teacher.filters.base import Written

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_NAME = re.compile(r"[^\W\d_][\w'’.-]*", re.UNICODE)
_SENTENCE_START = re.compile(r"(?:^|[.!?:;][\"'”’)\]]*\s+|\n\s*|[\"“(]\s*)$")
# Words that open sentences without naming anything.
_OPENERS = frozenset(
    """
    a according all also among an and another as at because both but by each first for from given hence
    here however if in it its looking next no now of on one only since so that the their there therefore
    these they this those thus to two we what when where which while with yes let comparing
    """.split()  # noqa: SIM905 - a list of words reads better as text
)


def numbers(text: str) -> list[str]:
    """Numbers as written, without thousands separators."""
    return [match.replace(",", "") for match in NUMBER.findall(text)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Supported:
    """Filter: drops a rationale that brings a figure or a name from nowhere; ``reason`` names it."""

    name: str = "supported"

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        context = "\n".join([written.question, *written.options, *written.passages])
        known_numbers = {number.lstrip("-") for number in numbers(context)}
        for number in numbers(written.rationale):
            if number.lstrip("-") not in known_numbers:
                return f"number not in the passages: {number}"
        known = {_stem(word) for word in _NAME.findall(context)}
        for match in _NAME.finditer(written.rationale):
            word = match[0]
            if not word[0].isupper() or _stem(word) in known:
                continue
            starts_sentence = bool(_SENTENCE_START.search(written.rationale[: match.start()]))
            if not (starts_sentence and word.lower().rstrip(".") in _OPENERS):
                return f"name not in the passages: {word}"
        return None


def _stem(word: str) -> str:
    word = word.lower().strip(".'’-")
    return re.sub(r"['’]s$", "", word)
