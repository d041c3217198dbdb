"""Keep a rationale only if it concludes with the gold answer, once (KARD, filter of wrong rationales)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kard_ray.benchmarks.answers import numbers_in, open_kind, read_answer
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.teacher.filters.base import Written

_OPENING = "so the answer is"


@dataclass(frozen=True, kw_only=True, slots=True)
class Concludes:
    """Filter: the text must end in the gold conclusion, and have a reason before it."""

    name: str = "concludes"
    min_words: int = 4  # fewer words before the conclusion are no rationale

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        text = written.rationale.strip()
        answer = read_answer(text, written, written.answer_form)
        if answer is None:
            return "no answer can be read from it"
        if not answer.correct:
            return "concludes with another answer"
        body = _before_conclusion(text, written)
        if body is None:
            return "does not end in the closing sentence"
        if _OPENING in body.lower():
            return "concludes more than once"
        return "no reasoning before the answer" if len(body.split()) < self.min_words else None


def _before_conclusion(text: str, written: Written) -> str | None:
    """What stands before the closing sentence, or None when the text does not end in it.

    The gold number may be closed with in another form and with its unit ("So the answer is $1,200 a year."), as the
    only number of the sentence; any other answer stands as in the gold conclusion.
    """
    text = text.rstrip(". ")
    closing = conclusion(written.options, written.answer, written.answer_form, written.gold).rstrip(". ")
    if text.lower().endswith(closing.lower()):
        return text[: len(text) - len(closing)]
    if written.options or open_kind(written.gold) != "number":
        return None
    start = text.lower().rfind(_OPENING)
    ending = text[start + len(_OPENING) :]
    one_sentence = not re.search(r"[.!?]\s|\n", ending.strip())
    return text[:start] if start >= 0 and one_sentence and len(numbers_in(ending)) == 1 else None
