"""Keep a rationale only if each fact in it stands in one sentence of the passages.

Numbers and names that occur somewhere in the passages can still be put together wrongly: "The internet country code of
the Comoros is France." A small student learns from such lines to invent. So the names and numbers of a sentence must
stand together in one sentence of a passage, and most of its other words there or in the question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.supported import NUMBER
from kard_ray.teacher.focus import sentences

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# "The birth rate of Niger is 46.29 births/1,000" has two numbers and a word in -er, and compares nothing.
_COMPARISON = re.compile(r"\b(?:\w+er|more|less)\b.*\bthan\b|\b(?:same|both|equal)\b", re.IGNORECASE)
_CONCLUSION = re.compile(r"\bso the answer is\b", re.IGNORECASE)
_SHORTEST = 4  # shorter words are mostly grammar


@dataclass(frozen=True, kw_only=True, slots=True)
class Grounded:
    """Filter: drops a rationale with a sentence that no sentence of the passages supports; ``reason`` quotes it."""

    name: str = "grounded"
    cites_all: bool = False  # also ask for a fact of every passage: what is not stated, retrieval cannot find
    min_share: float = (
        0.6  # of a sentence's other words that must stand in the passage's sentence or the question
    )

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        asked = _words(written.question)
        cited: set[int] = set()
        text = written.rationale
        closings = [match.start() for match in _CONCLUSION.finditer(text)]
        for sentence in sentences(text[: closings[-1] if closings else None].strip()):
            facts, words = _facts(sentence), _words(sentence)
            if not facts or (_COMPARISON.search(sentence) and len(NUMBER.findall(sentence)) > 1):
                continue  # a comparison joins two facts: true_comparisons looks at it
            saying = {
                number
                for number, passage in enumerate(written.passages)
                for said in sentences(passage)
                if facts <= _facts(said)
                and len(words & (_words(said) | asked)) >= self.min_share * len(words)
            }
            if not saying:
                return f"no passage says: {sentence!r}"
            cited |= saying
        if self.cites_all and (missing := set(range(len(written.passages))) - cited):
            return f"no fact of this passage is stated: {written.passages[min(missing)][:60]!r}"
        return None


def _facts(sentence: str) -> set[str]:
    """Numbers, and names: words with a capital that do not open the sentence."""
    names = {m[0].lower() for m in _WORD.finditer(sentence) if m.start() and m[0][0].isupper()}
    return names | {number.strip("-").replace(",", "") for number in NUMBER.findall(sentence)}


def _words(sentence: str) -> set[str]:
    return {w for w in map(str.lower, _WORD.findall(sentence)) if len(w) >= _SHORTEST and not w[0].isdigit()}
