"""Where the passages of an answer come from: the names that recipes, predictions and tables have for it.

``none``, ``silver``, or a search: ``bm25`` after one round, ``bm25:2`` after two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

Search = Literal["bm25", "vector", "hybrid", "reranker", "multivector"]
SEARCHES: tuple[Search, ...] = get_args(Search)
RERANKED: tuple[Search, ...] = ("reranker", "multivector")  # need a trained reranker
MOST_ROUNDS = 3
_NUMBERS = {1: "one round", 2: "two rounds", 3: "three rounds"}

PassageSource = str  # such a name


class Searched(NamedTuple):
    """A source that is searched, taken apart."""

    search: Search
    rounds: int


def source_name(search: Search, rounds: int) -> PassageSource:
    """The name of ``rounds`` rounds of ``search``."""
    return search if rounds == 1 else f"{search}:{rounds}"


def searched(source: PassageSource) -> Searched | None:
    """The search behind ``source``; None when nothing is searched for."""
    name, _, rounds = source.partition(":")
    for search in SEARCHES:
        if search == name:
            return Searched(search, int(rounds or 1))
    return None


def uses_reranker(sources: Iterable[PassageSource]) -> bool:
    """Whether one of ``sources`` needs a trained reranker."""
    return any(found.search in RERANKED for source in sources if (found := searched(source)))


def most_rounds(sources: Iterable[PassageSource]) -> int:
    """The largest number of rounds of any of ``sources``; 1 when nothing is searched for."""
    return max((found.rounds for source in sources if (found := searched(source))), default=1)


def rounds_in_words(source: PassageSource) -> str:
    """``two rounds``; empty for one, or without a search."""
    found = searched(source)
    return _NUMBERS[found.rounds] if found is not None and found.rounds > 1 else ""
