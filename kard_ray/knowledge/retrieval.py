"""Find passages: by words (BM25), by vectors, or by both; a query is text, never a query language.

The table is the truth. Documents are numbered as the table's version scans them; the BM25 index and the vectors in
memory use those numbers, and texts are taken from the table by them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from pydantic import Field

from kard_ray.knowledge.bm25 import Bm25Index
from kard_ray.knowledge.embedding import Embedder, EmbedderConfig
from kard_ray.knowledge.filters import COLUMNS, PassageFilter
from kard_ray.knowledge.fragments import is_in, table_uri
from kard_ray.knowledge.fusion import reciprocal_rank_fusion
from kard_ray.knowledge.indexes import bm25_folder
from kard_ray.knowledge.opening import open_table
from kard_ray.knowledge.passage import RETRIEVED
from kard_ray.knowledge.settings import read_settings
from kard_ray.knowledge.vectors import ExactVectors
from kard_ray.knowledge.versions import find_version
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model

Mode = Literal["bm25", "vector", "hybrid"]
_MARGIN = (
    8  # extra hits asked of LanceDB at first, so that ties at the cut are broken by id, not by storage order
)
_QUERIES = 64  # scored against all vectors at once: 50 MB of scores for 200,000 passages


class RetrievalConfig(Frozen):
    """How passages are found."""

    EXECUTION = frozenset({"workers"})

    version: str | None = None  # tag or number of the knowledge base's version; null: the one the recipe made
    # memory_mapped is the fast one; lancedb searches the full-text index of the table (its k1 and b are 1.2 and 0.75)
    bm25_engine: Literal["memory_mapped", "lancedb"] = "memory_mapped"
    fusion_depth: int = Field(100, ge=1, le=10_000)  # passages of each ranking that hybrid joins
    # Of reciprocal rank fusion. Its authors' 60 joins many rankings; for two, a small one lets the first places count
    # (SciFact, train queries, nDCG@10: BM25 0.697, joined with 60 0.719, with 10 0.726, with 1 0.732).
    fusion_constant: float = Field(1.0, ge=0)
    bm25_weight: float = Field(1.0, ge=0)
    vector_weight: float = Field(1.0, ge=0)
    filter: PassageFilter = PassageFilter()  # only passages of these sources, languages, dates
    workers: int = Field(1, ge=1)  # actors that search for a whole data set, one core each


class KnowledgeBase:
    """One version of a built knowledge base, opened for reading; safe to use from several threads."""

    def __init__(
        self,
        folder: str,
        config: RetrievalConfig | None = None,
        *,
        version: str | int | None = None,
        threads: int = 2,
    ) -> None:
        """``version`` (a tag or a number) goes before ``config.version``; None reads the newest."""
        self.config = config or RetrievalConfig()
        self.folder, self.threads = folder, threads
        self.settings = read_settings(folder)
        self.version = find_version(folder, version if version is not None else self.config.version)
        self.dataset = lance.dataset(table_uri(folder), version=self.version.number)
        self._mask = lru_cache(maxsize=16)(self._find_mask)

    # -- the one way in ----------------------------------------------------------------------------------------------

    def retrieve(
        self,
        queries: Mapping[str, str] | Sequence[str],
        k: int,
        mode: Mode = "bm25",
        filter: PassageFilter | None = None,
    ) -> pa.Table:
        """Schema RETRIEVED: up to ``k`` rows per query, in the order of the queries, best first.

        ``queries`` are texts by id; of a plain list the positions are the ids. Score: BM25, cosine, or the fused
        score. Ties go by passage id. ``filter`` goes before the configured one. Raises UserError for
        an unknown mode, or a vector search without vectors.
        """
        named = dict(queries) if isinstance(queries, Mapping) else {str(n): q for n, q in enumerate(queries)}
        texts, ids = list(named.values()), list(named)
        if k < 1 or not texts:
            return RETRIEVED.empty_table()
        return self.rows(ids, *self.search(texts, k, mode, filter))

    def rows(self, query_ids: Sequence[str], documents_QK: np.ndarray, scores_QK: np.ndarray) -> pa.Table:
        """Schema RETRIEVED of documents found for each query, best first; -1 is none."""
        found = documents_QK >= 0
        if not found.any():
            return RETRIEVED.empty_table()
        owners, ranks = np.nonzero(found)
        unique, inverse = np.unique(documents_QK[found], return_inverse=True)
        rows = self.dataset.take(unique.tolist(), columns=["passage_id", "title", "text"]).take(
            pa.array(inverse)
        )
        owner_ids = pa.array(query_ids, pa.string()).take(pa.array(owners))
        return pa.table(
            [owner_ids, rows["passage_id"], pa.array(ranks.astype(np.int32)), pa.array(scores_QK[found]),
             rows["title"], rows["text"]],
            schema=RETRIEVED,
        )  # fmt: skip

    def search(
        self,
        queries: Sequence[str],
        k: int,
        mode: Mode,
        filter: PassageFilter | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(documents_QK, scores_QK) without texts; -1 where fewer than ``k`` are found."""
        filter = self.config.filter if filter is None else filter
        if mode not in get_args(Mode):
            raise UserError(f"retrieval mode {mode!r}: expected one of {', '.join(get_args(Mode))}.")
        if mode == "bm25":
            return self._bm25(queries, k, filter)
        if mode == "vector":
            return self._nearest(queries, k, filter)
        depth = max(k, self.config.fusion_depth)
        rankings = [self._bm25(queries, depth, filter)[0], self._nearest(queries, depth, filter)[0]]
        weights = [self.config.bm25_weight, self.config.vector_weight]
        return reciprocal_rank_fusion(rankings, weights, constant=self.config.fusion_constant, k=k)

    def score(self, queries: Sequence[str], documents: Sequence[np.ndarray], mode: Mode) -> list[np.ndarray]:
        """float32 scores of each query's own ``documents``, as a search by ``mode`` gives them.

        Raises UserError for a mode whose scores are not those of a passage and a query alone.
        """
        if mode == "bm25" and self.config.bm25_engine == "memory_mapped":
            return self._bm25_index.score(queries, documents)
        if mode == "vector":
            return self._cosines(queries, documents)
        if mode == "hybrid":
            raise UserError(
                "retrieval mode hybrid: its score joins ranks, so it has none for a given passage; use bm25 or vector."
            )
        raise UserError(
            "field retrieval.bm25_engine: lancedb scores no given passages; set it to memory_mapped."
        )

    def _cosines(self, queries: Sequence[str], documents: Sequence[np.ndarray]) -> list[np.ndarray]:
        vectors_QD = self.encode(queries)
        found = []
        for vector_D, of in zip(vectors_QD, documents, strict=True):
            if not len(of):
                found.append(np.empty(0, np.float32))
                continue
            column = self.dataset.take(of.tolist(), columns=["vector"])["vector"].combine_chunks()
            stored = column.flatten().to_numpy(zero_copy_only=False).reshape(len(of), len(vector_D))
            found.append((stored @ vector_D).astype(np.float32))
        return found

    # -- by words ----------------------------------------------------------------------------------------------------

    def _bm25(
        self,
        queries: Sequence[str],
        k: int,
        filter: PassageFilter | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.config.bm25_engine == "memory_mapped":
            return self._bm25_index.search(queries, k, allowed=self.allowed(filter), threads=self.threads)
        with ThreadPoolExecutor(self.threads) as pool:
            found = list(pool.map(lambda query: self._full_text(query, k, filter), queries))
        documents_QK = np.full((len(queries), k), -1, np.int64)
        scores_QK = np.zeros((len(queries), k), np.float32)
        for query, hits in enumerate(found):
            documents_QK[query, : len(hits)] = [document for document, _ in hits]
            scores_QK[query, : len(hits)] = [score for _, score in hits]
        return documents_QK, scores_QK

    def _full_text(
        self,
        query: str,
        k: int,
        filter: PassageFilter | None,
    ) -> list[tuple[int, float]]:
        if not any(character.isalnum() for character in query):
            return []
        from lancedb.query import MatchQuery

        limit = k + _MARGIN
        while True:
            search = self._table.search(MatchQuery(query, "content"), query_type="fts")  # type: ignore[call-arg]
            if filter is not None and not filter.is_empty:
                search = search.where(filter.where(), prefilter=True)
            hits = search.limit(limit).select(["passage_id", "_score"]).with_row_id(True).to_list()
            scores = sorted((hit["_score"] for hit in hits), reverse=True)
            if len(hits) < limit or scores[-1] < scores[k - 1]:
                break
            limit *= 2  # the tie at the cut goes on: who is first by id is not known yet
        hits = sorted(hits, key=lambda hit: (-hit["_score"], hit["passage_id"]))[:k]
        places = self._documents_at(np.array([hit["_rowid"] for hit in hits], np.int64))
        return list(zip(places.tolist(), (hit["_score"] for hit in hits), strict=True))

    # -- by vectors --------------------------------------------------------------------------------------------------

    def _nearest(
        self,
        queries: Sequence[str],
        k: int,
        filter: PassageFilter | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        vectors_QD = self.encode(queries)
        # An empty query has no meaning, but it has a vector: it finds nothing, as with BM25.
        blank = np.array([not any(c.isalnum() for c in query) for query in queries], bool)
        if self._has_vector_index:
            with ThreadPoolExecutor(self.threads) as pool:
                found = list(pool.map(lambda vector: self._approximate(vector, k, filter), vectors_QD))
            documents_QK, scores_QK = (np.stack(part) for part in zip(*found, strict=True))
        else:
            allowed_N = self.allowed(filter)
            parts = [
                self._exact.search(vectors_QD[at : at + _QUERIES], k, allowed_N)
                for at in range(0, len(queries), _QUERIES)
            ]
            documents_QK, scores_QK = (np.concatenate(part) for part in zip(*parts, strict=True))
        documents_QK[blank], scores_QK[blank] = -1, 0.0
        return documents_QK, scores_QK

    def _approximate(
        self,
        vector_D: np.ndarray,
        k: int,
        filter: PassageFilter | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        search = self._table.search(vector_D, vector_column_name="vector").distance_type("cosine")
        search = search.nprobes(self.settings.vectors.probes).refine_factor(self.settings.vectors.refine)
        if filter is not None and not filter.is_empty:
            search = search.where(filter.where(), prefilter=True)
        hits = search.limit(k).select(["passage_id", "_distance"]).with_row_id(True).to_list()
        hits.sort(key=lambda hit: (hit["_distance"], hit["passage_id"]))
        documents_K = np.full(k, -1, np.int64)
        scores_K = np.zeros(k, np.float32)
        documents_K[: len(hits)] = self._documents_at(np.array([hit["_rowid"] for hit in hits], np.int64))
        scores_K[: len(hits)] = [1.0 - hit["_distance"] for hit in hits]
        return documents_K, scores_K

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of queries, ``[len(texts), dimensions]``."""
        return self._embedder.encode([self.settings.query_prefix + text for text in texts])

    # -- what is opened on first use ---------------------------------------------------------------------------------

    @cached_property
    def _bm25_index(self) -> Bm25Index:
        folder = bm25_folder(self.folder, self.version.number)
        if not os.path.isdir(folder):
            raise UserError(
                f"knowledge base {self.folder}: version {self.version.tag} has no BM25 index; "
                "run kard-ray knowledge compact, or set retrieval.bm25_engine: lancedb."
            )
        return Bm25Index.open(folder, version=self.version.number)

    @cached_property
    def _table(self) -> Any:
        table = open_table(self.folder)
        table.checkout(self.version.number)
        return table

    @cached_property
    def _has_vector_index(self) -> bool:
        return any(index.columns == ["vector"] for index in self._table.list_indices())

    @cached_property
    def id_order(self) -> np.ndarray:
        """Each document's rank by passage id: ties go by it."""
        ids = self.dataset.to_table(columns=["passage_id"])["passage_id"]
        order_N = np.empty(len(ids), np.int64)
        order_N[pc.sort_indices(ids).to_numpy()] = np.arange(len(ids))
        return order_N

    @cached_property
    def _exact(self) -> ExactVectors:
        return ExactVectors(self.dataset, self.id_order)

    @cached_property
    def _embedder(self) -> Embedder:
        if self.settings.embedder is None:
            raise UserError(
                f"knowledge base {self.folder}: it has no vectors (knowledge.embedder is null); use mode bm25."
            )
        model = resolve_model(self.settings.embedder)
        if model.revision != self.settings.embedder_revision:
            raise UserError(
                f"knowledge base {self.folder}: its vectors come from {self.settings.embedder} "
                f"{self.settings.embedder_revision}, and here is {model.revision}; install that one, or build again."
            )
        config = EmbedderConfig(
            model_path=model.path, dtype=self.settings.embedder_dtype, threads=self.threads
        )
        return Embedder(config)

    @cached_property
    def _addresses(self) -> np.ndarray:
        """Row address of each document, ascending."""
        table = self.dataset.to_table(columns=[], with_row_address=True)
        return table["_rowaddr"].to_numpy().astype(np.int64)

    def _documents_at(self, addresses: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._addresses, addresses)

    def allowed(self, filter: PassageFilter | None) -> np.ndarray | None:
        """One bool per document; None: all pass."""
        return None if filter is None or filter.is_empty else self._mask(filter)

    def _find_mask(self, filter: PassageFilter) -> np.ndarray:
        return filter.mask(self._filter_columns).to_numpy()

    @cached_property
    def _filter_columns(self) -> pa.Table:
        return self.dataset.to_table(columns=list(COLUMNS))


class Retriever:
    """Adds ``passages`` (list of {passage_id, title, text, score}, best first) to batches; an actor's callable."""

    def __init__(
        self, folder: str, k: int, query_column: str, mode: Mode = "bm25", config: RetrievalConfig | None = None,
        version: str | int | None = None,
    ) -> None:  # fmt: skip
        self.base = KnowledgeBase(folder, config, version=version)
        self.k, self.query_column, self.mode = k, query_column, mode

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One query per row, read from ``query_column``."""
        found = self.base.retrieve(batch[self.query_column].to_pylist(), self.k, self.mode)
        return batch.append_column("passages", pa.array(by_query(found, batch.num_rows), PASSAGE_LIST))


PASSAGE_LIST = pa.list_(
    pa.struct(
        [("passage_id", pa.string()), ("title", pa.string()), ("text", pa.string()), ("score", pa.float32())]
    )
)


def by_query(found: pa.Table, queries: int) -> list[list[dict[str, Any]]]:
    """Rows of RETRIEVED as the passages of each query, best first; the ids of queries are their positions."""
    passages: list[list[dict[str, Any]]] = [[] for _ in range(queries)]
    for hit in found.to_pylist():
        passages[int(hit["query_id"])].append({name: hit[name] for name in PASSAGE_LIST.value_type.names})
    return passages


def retrieve_for(
    rows: ray.data.Dataset, *, folder: str, k: int, query_column: str, mode: Mode = "bm25",
    config: RetrievalConfig | None = None, version: str | int | None = None,
) -> ray.data.Dataset:  # fmt: skip
    """Ray Data edge of :class:`Retriever`."""
    return rows.map_batches(
        Retriever,
        fn_constructor_args=(folder, k, query_column, mode, config, version),
        batch_format="pyarrow",
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=(config or RetrievalConfig()).workers),
        num_cpus=1,
    )


def passage_texts(
    folder: str, passage_ids: Iterable[str], *, version: str | int | None = None
) -> dict[str, dict[str, str]]:
    """``{passage_id: {title, text}}`` of the given ids; ids that are not in the knowledge base are left out."""
    dataset = lance.dataset(table_uri(folder), version=find_version(folder, version).number)
    wanted = sorted(set(passage_ids))
    found: dict[str, dict[str, str]] = {}
    for at in range(0, len(wanted), 500):
        rows = dataset.to_table(
            columns=["passage_id", "title", "text"], filter=is_in("passage_id", wanted[at : at + 500])
        )
        found |= {row["passage_id"]: {"title": row["title"], "text": row["text"]} for row in rows.to_pylist()}
    return found
