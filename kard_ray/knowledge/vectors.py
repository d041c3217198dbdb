"""Nearest passages by vector: every vector compared, exactly; for knowledge bases that fit in memory."""

from __future__ import annotations

import lance
import numpy as np


class ExactVectors:
    """All vectors of one version of the table, in document order, as one matrix in memory."""

    def __init__(self, dataset: lance.LanceDataset, order_N: np.ndarray) -> None:
        """``order_N`` is each document's rank by passage id, for ties."""
        column = dataset.to_table(columns=["vector"])["vector"].combine_chunks()
        dimensions = column.type.list_size
        self.vectors_ND = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimensions)
        self.order_N = order_N

    def search(
        self, queries_QD: np.ndarray, k: int, allowed_N: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(documents_QK, cosine_QK), best first, ties by passage id; -1 where fewer than k are allowed."""
        scores_QN = queries_QD @ self.vectors_ND.T
        if allowed_N is not None:
            scores_QN[:, ~allowed_N] = -np.inf
        found_QK = np.full((len(queries_QD), k), -1, np.int64)
        cosine_QK = np.zeros((len(queries_QD), k), np.float32)
        count = min(k, scores_QN.shape[1])
        for query, scores_N in enumerate(scores_QN):
            # Whatever ties with the k-th best is a candidate, so that storage order decides nothing.
            cut = np.partition(scores_N, -count)[-count] if count else np.inf
            candidates = np.flatnonzero(scores_N >= cut)
            candidates = candidates[scores_N[candidates] > -np.inf]
            best = candidates[np.lexsort((self.order_N[candidates], -scores_N[candidates]))][:k]
            found_QK[query, : len(best)] = best
            cosine_QK[query, : len(best)] = scores_N[best]
        return found_QK, cosine_QK
