"""Keep a rationale only if it concludes with the gold answer, once (KARD, filter of wrong rationales)."""

from __future__ import annotations

from dataclasses import dataclass

from kard_ray.benchmarks.rendering import conclusion, parse_answer
from kard_ray.teacher.filters.base import Written


@dataclass(frozen=True, kw_only=True, slots=True)
class Concludes:
    """Filter: the text must end in the gold conclusion, and have a reason before it."""

    name: str = "concludes"
    min_words: int = 4  # fewer words before the conclusion are no rationale

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        text = written.rationale.strip()
        answer = parse_answer(text, written.options, written.answer_form)
        if answer is None:
            return "no answer can be read from it"
        if answer != written.answer:
            return "concludes with another answer"
        closing = conclusion(written.options, written.answer, written.answer_form)
        if not text.lower().rstrip(". ").endswith(closing.lower().rstrip(". ")):
            return "does not end in the closing sentence"
        body = text[: len(text.rstrip(". ")) - len(closing.rstrip(". "))]
        if "so the answer is" in body.lower():
            return "concludes more than once"
        return "no reasoning before the answer" if len(body.split()) < self.min_words else None
