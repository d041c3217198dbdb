from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.fusion import reciprocal_rank_fusion


def test_scores_are_those_of_the_formula() -> None:
    words, vectors = np.array([[7, 3, -1]]), np.array([[3, 9, 7]])
    documents, scores = reciprocal_rank_fusion([words, vectors], [1.0, 0.5], constant=60, k=4)
    assert documents.tolist() == [[7, 3, 9, -1]]
    expected = [1 / 61 + 0.5 / 63, 1 / 62 + 0.5 / 61, 0.5 / 62, 0.0]
    assert scores[0].tolist() == pytest.approx(expected)


def test_a_ranking_without_weight_finds_nothing() -> None:
    documents, _ = reciprocal_rank_fusion([np.array([[1]]), np.array([[2]])], [1.0, 0.0], constant=60, k=2)
    assert documents.tolist() == [[1, -1]]


RANKING = st.lists(st.integers(0, 30), unique=True, max_size=10)


@given(RANKING, RANKING, st.integers(1, 12))
def test_every_document_found_stands_there_once_best_first(
    first: list[int], second: list[int], k: int
) -> None:
    pad = lambda ranking: np.array([ranking + [-1] * (10 - len(ranking))])  # noqa: E731
    documents, scores = reciprocal_rank_fusion([pad(first), pad(second)], [1.0, 1.0], constant=60, k=k)
    found = [document for document in documents[0].tolist() if document >= 0]
    assert len(found) == len(set(found)) == min(k, len({*first, *second}))
    assert set(found) <= {*first, *second}
    assert scores[0].tolist() == sorted(scores[0].tolist(), reverse=True)
