from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.evaluation.sources import (
    MOST_ROUNDS,
    SEARCHES,
    Search,
    most_rounds,
    rounds_in_words,
    searched,
    source_name,
    uses_reranker,
)


@given(st.sampled_from(SEARCHES), st.integers(1, MOST_ROUNDS))
def test_a_name_tells_search_and_rounds(search: Search, rounds: int) -> None:
    assert searched(source_name(search, rounds)) == (search, rounds)
    assert (source_name(search, rounds) == search) == (rounds == 1)
    assert rounds_in_words(source_name(search, rounds)) == ("", "two rounds", "three rounds")[rounds - 1]


@pytest.mark.parametrize("source", ["none", "silver", "gated"])
def test_what_is_not_searched_has_no_rounds(source: str) -> None:
    assert searched(source) is None
    assert rounds_in_words(source) == ""


def test_sources_are_looked_at_together() -> None:
    assert most_rounds(["none", "silver"]) == 1
    assert most_rounds(["none", "bm25:3", "reranker:2"]) == 3
    assert uses_reranker(["silver", "multivector:2"])
    assert not uses_reranker(["bm25:2", "hybrid", "silver"])
