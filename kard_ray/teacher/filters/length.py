"""Keep a rationale only if it is neither too short to hold a reason nor so long that the teacher lost its thread."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from kard_ray.knowledge.contamination import words
from kard_ray.runtime.config import Frozen
from kard_ray.teacher.filters.base import Written


class Length(Frozen):
    """Filter: drops a rationale of too few or too many words, its conclusion counted.

    A word is a run of letters and digits; each Chinese or Japanese character is one.
    """

    name: ClassVar[str] = "length"

    min_words: int = Field(5, ge=0)
    # The published rationales of OpenBookQA and StrategyQA: 99.9 % have fewer
    max_words: int = Field(400, ge=1)

    @model_validator(mode="after")
    def _some_length_is_allowed(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words is {self.min_words} and max_words {self.max_words}: nothing is left")
        return self

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        count = len(words(written.rationale))
        if count < self.min_words:
            return f"{count} words, fewer than {self.min_words}"
        return f"{count} words, more than {self.max_words}" if count > self.max_words else None
