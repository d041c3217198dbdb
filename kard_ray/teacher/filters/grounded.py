"""Keep a rationale only if each fact in it stands in one sentence of the passages.

Numbers and names that occur somewhere in the passages can still be put together wrongly: "The internet country code of
the Comoros is France." A small student learns from such lines to invent. So the names and numbers of a sentence must
stand together in one sentence of a passage, and as often ("The capital of India is India." has one India too many), and
most of its other words there or in the question. What a sentence says that a list includes must stand in the passage's
sentence, and what it says that the list does not include must not.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.supported import NUMBER
from kard_ray.teacher.focus import sentences

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# "The birth rate of Niger is 46.29 births/1,000" has two numbers and a word in -er, and compares nothing.
_COMPARISON = re.compile(r"\b(?:\w+er|more|less)\b.*\bthan\b|\b(?:same|both|equal)\b", re.IGNORECASE)
# "The official languages of Iraq do not include English."
_LISTING = re.compile(r"(?P<list>.+?)\b(?P<negated>do(?:es)? not )?includes?\b(?P<item>.+)", re.IGNORECASE)
_ITEMS = re.compile(r",\s|\band\b|\bor\b")
_ARTICLES = {"the", "a", "an"}
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
            if not _facts(sentence) or (_COMPARISON.search(sentence) and len(NUMBER.findall(sentence)) > 1):
                continue  # a comparison joins two facts: true_comparisons looks at it
            claim = _claim(sentence, asked)
            saying = {
                number
                for number, passage in enumerate(written.passages)
                if any(self._says(said, claim) for said in sentences(passage))
            }
            if not saying:
                return f"no passage says: {sentence!r}"
            cited |= saying
        if self.cites_all and (missing := set(range(len(written.passages))) - cited):
            return f"no fact of this passage is stated: {written.passages[min(missing)][:60]!r}"
        return None

    def _says(self, said: str, claim: _Claim) -> bool:
        """Whether ``said``, a sentence of a passage, says what the rationale claims."""
        if claim.items:
            there = [f" {item} " in f" {_plain(said)} " for item in claim.items]
            if any(there) if claim.negated else not all(there):
                return False
        enough = len(claim.words & (_words(said) | claim.known)) >= self.min_share * len(claim.words)
        return enough and claim.facts <= _facts(said)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claim:
    """A sentence of a rationale, read once; of a list only what tells which list, and its items."""

    facts: Counter[str]
    words: set[str]
    known: set[str]  # words that need not stand in the passage
    items: tuple[str, ...] = ()
    negated: bool = False


def _claim(sentence: str, asked: set[str]) -> _Claim:
    listing = _LISTING.fullmatch(sentence)
    if listing is None:
        return _Claim(facts=_facts(sentence), words=_words(sentence), known=asked)
    which = listing["list"]
    return _Claim(
        facts=_facts(which),
        words=_words(which),
        known=set(),  # the question names the list: its words do not tell whether a passage is about it
        items=tuple(filter(None, map(_plain, _ITEMS.split(listing["item"])))),
        negated=listing["negated"] is not None,
    )


def _facts(sentence: str) -> Counter[str]:
    """Numbers, and names: words with a capital that do not open the sentence."""
    names = Counter(m[0].lower() for m in _WORD.finditer(sentence) if m.start() and m[0][0].isupper())
    return names + Counter(number.strip("-").replace(",", "") for number in NUMBER.findall(sentence))


def _plain(text: str) -> str:
    """Its words and numbers in small letters, without articles."""
    return " ".join(word for word in map(str.lower, _WORD.findall(text)) if word not in _ARTICLES)


def _words(sentence: str) -> set[str]:
    return {w for w in map(str.lower, _WORD.findall(sentence)) if len(w) >= _SHORTEST and not w[0].isdigit()}
