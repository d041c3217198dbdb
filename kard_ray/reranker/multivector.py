"""Search all passages by their token vectors, without a first stage.

Of few passages every token is compared. Of many, LanceDB's multivector index (IVF-PQ over all tokens, by cosine, which
is all it knows) proposes candidates, and these are scored exactly: so scores mean the same either way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kard_ray.knowledge.filters import PassageFilter
from kard_ray.knowledge.opening import open_table
from kard_ray.reranker.maxsim import TokenArrays

EXACT_TOKENS = (
    4_000_000  # below, every token is compared: 2 s of one core for a question of 32 tokens, 384 numbers
)
_AT_ONCE = 64  # questions compared with every token, read once for them all: at most 200 MB of scores
_PARTITION_TOKENS = 4096  # of the index
_PROBES = 32  # partitions searched for each of the question's tokens
_REFINE = 10  # times as many candidates are compared by their full vectors in LanceDB
_LEAST = 256  # vectors that LanceDB trains an index on


def make_multivector_index(folder: str, name: str, *, tokens: int) -> bool:
    """Make the index of the table ``name`` in ``folder`` unless it has so few tokens that none is needed.

    Returns whether there is one now.
    """
    if tokens < max(EXACT_TOKENS, _LEAST):
        return False
    from lancedb.index import IvfPq

    table = open_table(folder, name)
    partitions = max(1, tokens // _PARTITION_TOKENS)
    table.create_index("vectors", config=IvfPq(distance_type="cosine", num_partitions=partitions))
    return True


class MultivectorSearch:
    """The table and the arrays of one artifact of token vectors."""

    def __init__(
        self, folder: str, name: str, arrays: TokenArrays, id_order_N: npt.NDArray[np.int64]
    ) -> None:
        """``id_order_N`` is each passage's rank by id, for ties."""
        self.arrays, self.id_order_N = arrays, id_order_N
        self.table: Any = None
        if os.path.isdir(os.path.join(folder, f"{name}.lance", "_indices")):
            self.table = open_table(folder, name)

    def search(
        self,
        queries: Sequence[npt.NDArray[np.float32]],
        k: int,
        *,
        candidates: int,
        allowed_N: npt.NDArray[np.bool_] | None = None,
        filter: PassageFilter | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """(documents_QK, scores_QK), best first, ties by passage id; -1 where fewer than ``k`` are found.

        ``queries`` are token vectors. ``candidates`` are proposed by the index, where there is one. ``filter`` and
        ``allowed_N`` say the same, once for LanceDB.
        """
        found_QK = np.full((len(queries), k), -1, np.int64)
        scores_QK = np.zeros((len(queries), k), np.float32)
        for at, (documents, score_N) in enumerate(
            self._all(queries, allowed_N)
            if self.table is None
            else self._near(queries, max(k, candidates), filter)
        ):
            best = np.lexsort((self.id_order_N[documents], -score_N))[:k]
            found_QK[at, : len(best)] = documents[best]
            scores_QK[at, : len(best)] = score_N[best]
        return found_QK, scores_QK

    def _all(
        self, queries: Sequence[npt.NDArray[np.float32]], allowed_N: npt.NDArray[np.bool_] | None
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """The allowed passages and their scores, for each question."""
        documents = np.arange(self.arrays.passages) if allowed_N is None else np.flatnonzero(allowed_N)
        for first in range(0, len(queries), _AT_ONCE):
            for score_N in self.arrays.all_scores(queries[first : first + _AT_ONCE]):
                yield documents, score_N[documents]

    def _near(
        self, queries: Sequence[npt.NDArray[np.float32]], count: int, filter: PassageFilter | None
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """The passages that the index proposes and their exact scores, for each question."""
        for query_QD in queries:
            documents = self._proposed(query_QD, count, filter)
            yield documents, self.arrays.scores(query_QD, documents)

    def _proposed(
        self, query_QD: npt.NDArray[np.float32], count: int, filter: PassageFilter | None
    ) -> npt.NDArray[np.int64]:
        search = self.table.search(query_QD, vector_column_name="vectors").distance_type("cosine")
        search = search.nprobes(_PROBES).refine_factor(_REFINE)
        if filter is not None and not filter.is_empty:
            search = search.where(filter.where(), prefilter=True)
        hits = search.limit(count).select(["_distance"]).with_row_id(True).to_list()
        addresses = np.array([hit["_rowid"] for hit in hits], np.int64)
        # Nothing was ever deleted from this table, so a row's address tells its fragment and place.
        return np.sort(np.searchsorted(self._addresses, addresses))

    @cached_property
    def _addresses(self) -> npt.NDArray[np.int64]:
        rows = self.table.to_lance().to_table(columns=[], with_row_address=True)
        addresses: npt.NDArray[np.int64] = rows["_rowaddr"].to_numpy().astype(np.int64)
        return addresses
