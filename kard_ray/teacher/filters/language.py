"""Keep a rationale only if it is written in the question's language.

A multilingual teacher now and then answers in another one, or drifts into it. Languages are told by py3langid (Lui and
Baldwin 2012, retrained for 139 languages); each decision needs a high probability, since names and numbers mislead it:
of 115,170 published English rationales none is dropped with the defaults, nor is any run of 8 to 20 words out of them.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, ClassVar

from pydantic import Field, field_validator

from kard_ray.knowledge.contamination import words
from kard_ray.runtime.config import Frozen
from kard_ray.teacher.filters.base import Written

# Of the probabilities that a question is in the rationale's language and in its own likeliest one; a short question
# with foreign names is easily mistaken: 16 of 6,560 English ones are, with ratios down to 0.13.
_RATIO = 0.05
_NONE = frozenset({"zxx", "und"})  # "no language": formulas, and what cannot be told


class Language(Frozen):
    """Filter: drops a rationale that is surely in a language that its question surely is not in."""

    name: ClassVar[str] = "language"

    language: str | None = None  # ISO 639 code that all must have, such as "en"; null: that of the question
    min_words: int = Field(8, ge=1)  # a shorter text passes: detection is unsure there
    min_probability: float = Field(0.9, gt=0.5, lt=1)  # of the language found in the rationale

    @field_validator("language")
    @classmethod
    def _known(cls, code: str | None) -> str | None:
        if code is not None and code not in (known := set(_identifier().labels) - _NONE):
            raise ValueError(f"expected one of {', '.join(sorted(known))}")
        return code

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        found, probability = _identifier().classify(written.rationale)
        if found == self.language or found in _NONE or probability < self.min_probability:
            return None
        if len(words(written.rationale)) < self.min_words:
            return None
        if self.language is None:
            asked = _languages(" ".join([written.question, *written.options]))
            expected = max(asked, key=lambda code: asked[code])
            if expected in _NONE or asked.get(found, 0.0) > _RATIO * asked[expected]:
                return None
        else:
            expected = self.language
        return f"written in language {found!r}, not in {expected!r}"


@cache
def _identifier() -> Any:
    # Imported here: the model takes most of a second, and recipes are read without it.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped,unused-ignore]

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=1024)
def _languages(text: str) -> dict[str, float]:
    """Probabilities by code; kept, because the samples of a question come together."""
    return dict(_identifier().rank(text))
