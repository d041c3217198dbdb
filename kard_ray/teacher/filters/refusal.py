"""Keep a rationale only if the teacher did not refuse, excuse itself, or speak of itself as a model.

Only what the teacher says of itself counts. "Plants cannot move", "World War I cannot be overlooked" and "we cannot
conclude that" are reasoning: of 115,170 published gpt-3.5 rationales, of which nearly 1 % hold "we cannot" or its like,
19 are dropped. The phrases were chosen on these same texts, and three of the 19 ("we cannot provide an explanation")
may be reasoning.
"""

from __future__ import annotations

import re
from typing import ClassVar

from kard_ray.runtime.config import Frozen
from kard_ray.teacher.filters.base import Written

# "I" as a word of its own, not the number of a king or a war: "Elizabeth I could not have".
_OPENED = r"(?:^|[.!?,;:\"“(\n]\s*|\b(?:[Bb]ut|[Aa]nd|[Tt]hat|[Ss]o|[Hh]owever|[Uu]nfortunately|AI|model|assistant)\s+)"
_CANNOT = (
    r"(?:cannot|can not|can't|could not|couldn't|will not|won't|must decline to|do not|don't|"
    r"(?:am|'m|was) (?:unable|not (?:able|allowed|permitted|in a position)) to)"
)
_SERVE = (
    r"(?:directly |currently |fully )?(?:answer|assist|help|provide|generate|give|write|create|produce|offer|promote|"
    r"condone|support|explain|comply|fulfil|fulfill|continue|engage|access|browse|determine|verify|have access|feel)"
)
_MODEL = r"(?:AI|artificial intelligence|(?:large )?language model)(?: (?:language model|model|assistant|system|AI))*"
_APOLOGY = r"(?:\bI(?:'m| am) (?:\w+ )?(?:sorry|afraid)|(?:^|[.!?]\s+)Sorry|\bI apologi[sz]e)\b"
_PHRASES = re.compile(
    "|".join(
        [
            rf"{_OPENED}I ?{_CANNOT} {_SERVE}\b",
            rf"{_APOLOGY}[^.!?]{{0,60}}\bI ?{_CANNOT}\b",
            rf"\b[Aa]s an? {_MODEL},? (?:I|we|my)\b",
            rf"\b(?:I|we|We)\b[^.!?]{{0,80}}\bas an? {_MODEL}(?=[.,!;]|$)",
            rf"\bI(?:'m| am) (?:just |only )?an? {_MODEL}\b",
            rf"\b[Ww]e {_CANNOT} (?:provide|give|generate|offer) (?:an? |any |the )?(?:\w+ )?explanation\b",
            r"\bmy (?:training data|programming|knowledge cut-?off|guidelines)\b",
        ]
    )
)


class Refusal(Frozen):
    """Filter: drops a rationale with a phrase of refusal; ``reason`` quotes it."""

    name: ClassVar[str] = "refusal"

    also: tuple[str, ...] = ()  # more phrases, in any case: other languages, "please refer to the previous"

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        text = written.rationale.replace("’", "'")
        if match := _PHRASES.search(text):
            return f"refuses: {match[0].strip()!r}"
        lowered = text.lower()
        return next(
            (f"holds the phrase {phrase!r}" for phrase in self.also if phrase.lower() in lowered), None
        )
