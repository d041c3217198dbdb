"""Reciprocal rank fusion of rankings (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def reciprocal_rank_fusion(
    rankings: Sequence[np.ndarray], weights: Sequence[float], *, constant: float, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best documents over several rankings of the same Q queries: (documents_QK, scores_QK).

    ``rankings`` hold document numbers [Q, depth], best first, -1 where there are fewer. The score of a document is the
    sum of ``weight / (constant + rank)`` over the rankings that have it, rank from 1. Equal scores go by the better
    rank in the first ranking that has either, then by document number. -1 and 0.0 where fewer than k are found.
    """
    queries = len(rankings[0])
    documents_QK = np.full((queries, k), -1, np.int64)
    scores_QK = np.zeros((queries, k), np.float32)
    for query in range(queries):
        scores: dict[int, float] = {}
        order: dict[int, tuple[int, ...]] = {}
        for at, (ranking, weight) in enumerate(zip(rankings, weights, strict=True)):
            for rank, document in enumerate(ranking[query].tolist(), start=1):
                if document >= 0 and weight > 0:
                    scores[document] = scores.get(document, 0.0) + weight / (constant + rank)
                    order.setdefault(document, (at, rank))
        best = sorted(scores, key=lambda document: (-scores[document], order[document], document))[:k]
        documents_QK[query, : len(best)] = best
        scores_QK[query, : len(best)] = [scores[document] for document in best]
    return documents_QK, scores_QK
