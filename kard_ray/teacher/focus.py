"""The sentences of a passage that bear on a question: a weak teacher copies well from little, and badly from much."""

from __future__ import annotations

import re
from collections import Counter

# Not behind an initial: "S. Korea".
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<![\s(][A-Z]\.)\s+(?=[A-Z0-9\"“(])")
_WORD = re.compile(r"[^\W_]+(?:[.,'’-][^\W_]+)*")
# Short words and those that questions are phrased with say nothing about a sentence's topic.
_SHORTEST = 3
_COMMON = frozenset(
    "and are for from has have its not one than that the this was were what which who whose with".split()  # noqa: SIM905
)


def sentences(text: str) -> list[str]:
    """``text`` cut after full stops, question and exclamation marks; the parts joined by spaces are the text."""
    return _SENTENCE_END.split(text)


def focus(text: str, *, question: str, answer: str, limit: int) -> str:
    """The ``limit`` sentences of ``text`` that share most with question and answer, in their order.

    A shared word counts the less, the more sentences of the passage hold it (a country's name is in all of them); the
    whole answer counts as much as two words. Ties go to the earlier sentence.
    """
    parts = sentences(text)
    if len(parts) <= limit:
        return text
    words = [_words(part) for part in parts]
    spread = Counter(word for found in words for word in found)
    asked = _words(question) | _words(answer)
    wanted = answer.lower()

    def weight(at: int) -> float:
        shared = sum(1 - (spread[word] - 1) / len(parts) for word in words[at] & asked)
        return shared + (2.0 if len(wanted) >= _SHORTEST and wanted in parts[at].lower() else 0.0)

    best = sorted(range(len(parts)), key=lambda at: (-weight(at), at))[:limit]
    return " ".join(parts[at] for at in sorted(best))


def _words(text: str) -> set[str]:
    return {w for w in map(str.lower, _WORD.findall(text)) if len(w) >= _SHORTEST and w not in _COMMON}
