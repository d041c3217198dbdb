"""Find passages, then rerank them: the first stage proposes, the reranker orders.

    found = Reranking(base, reranker_folder, token_vectors_folder, config).rerank(["Is Chad larger than Niger?"], 3)

With token vectors that were computed before, a question costs one encoding and MaxSim; without them its candidates are
encoded when it is asked. Both give the same scores but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch

from kard_ray.knowledge.filters import PassageFilter
from kard_ray.knowledge.passage import RETRIEVED
from kard_ray.knowledge.retrieval import PASSAGE_LIST, KnowledgeBase, RetrievalConfig, by_query
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.late_interaction import LateInteraction
from kard_ray.reranker.maxsim import TokenArrays
from kard_ray.reranker.model import Reranker, load_reranker, passage_text
from kard_ray.reranker.multivector import MultivectorSearch
from kard_ray.reranker.token_vectors import TABLE, require_matching
from kard_ray.reranker.trained import TrainedReranker, Work
from kard_ray.runtime.errors import UserError

_NO_SPREAD = 1e-7  # of the largest score: float32's rounding

Queries = Mapping[str, str] | Sequence[str]


class Reranking:
    """A knowledge base and the reranker of what it finds; safe to use from several threads."""

    def __init__(
        self,
        base: KnowledgeBase,
        reranker_folder: str,
        token_vectors_folder: str | None,
        config: RerankerConfig,
    ) -> None:
        """Raises UserError when the reranker learned from another version, or its token vectors are of others."""
        self.base, self.folder, self.config = base, reranker_folder, config
        self.vectors_folder = token_vectors_folder
        if base.threads:
            torch.set_num_threads(base.threads)
        self.model: Reranker = load_reranker(reranker_folder)
        if torch.cuda.is_available():
            self.model.to("cuda")
        self._require_same_version()
        if token_vectors_folder is not None:
            require_matching(token_vectors_folder, reranker_folder=reranker_folder, version=base.version)

    def _require_same_version(self) -> None:
        learned = self.model.config.knowledge_base.get("knowledge_base_tag")
        if learned is not None and learned != self.base.version.tag:
            raise UserError(
                f"the reranker {self.folder} learned from version {learned} of the knowledge base, and version "
                f"{self.base.version.tag} is searched; train it again with kard-ray reranker, or search version "
                f"{learned}."
            )

    # -- a first stage, and the reranker -----------------------------------------------------------------------------

    def rerank(self, queries: Queries, k: int, filter: PassageFilter | None = None) -> pa.Table:
        """Schema RETRIEVED: the best ``k`` of the first stage's ``config.depth`` candidates, by the reranker's score.

        With ``config.first_stage_weight`` the score is that of :func:`interpolated`. Queries, order and ``filter`` are
        as in :meth:`KnowledgeBase.retrieve`; equal scores keep the order of the first stage.
        """
        return self.rerank_and_count(queries, k, filter)[0]

    def rerank_and_count(
        self, queries: Queries, k: int, filter: PassageFilter | None = None
    ) -> tuple[pa.Table, list[Work]]:
        """:meth:`rerank`, and what each question cost."""
        ids, texts = _named(queries)
        if k < 1 or not texts:
            return RETRIEVED.empty_table(), [Work(query_tokens=0) for _ in texts]
        depth = max(k, self.config.depth)
        found_QC, first_QC = self.base.search(texts, depth, self.config.first_stage, filter)
        candidates = [row[row >= 0] for row in found_QC]
        scores, works = self.score(texts, candidates)
        documents_QK = np.full((len(texts), k), -1, np.int64)
        scores_QK = np.zeros((len(texts), k), np.float32)
        for at, (documents, own_C) in enumerate(zip(candidates, scores, strict=True)):
            first_C = first_QC[at][found_QC[at] >= 0]
            score_C = interpolated(own_C, first_C, self.config.first_stage_weight)
            best = np.argsort(-score_C, kind="stable")[:k]
            documents_QK[at, : len(best)] = documents[best]
            scores_QK[at, : len(best)] = score_C[best]
        return self.base.rows(ids, documents_QK, scores_QK), works

    def score(
        self, texts: Sequence[str], candidates: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[Work]]:
        """float32 scores of each question's candidates (numbers of documents), and what they cost."""
        if self._arrays is not None:
            assert isinstance(self.model, LateInteraction)
            arrays = self._arrays
            encoded = self.model.encode_queries(texts)
            scores = [arrays.scores(query, of) for query, of in zip(encoded, candidates, strict=True)]
            works = [
                Work(
                    query_tokens=len(query),
                    candidate_tokens=tuple(arrays.tokens(of).tolist()),
                    precomputed=True,
                )
                for query, of in zip(encoded, candidates, strict=True)
            ]
            return scores, works
        unique = np.unique(np.concatenate([*candidates, np.empty(0, np.int64)]))
        rows = self.base.dataset.take(unique.tolist(), columns=["title", "text"]).to_pylist()
        passages = [passage_text(row["title"], row["text"]) for row in rows]
        places = [np.searchsorted(unique, of).tolist() for of in candidates]
        scores = self.model.score(texts, [[passages[at] for at in of] for of in places])
        alone, pair = self._special_tokens
        with_query = pair - alone if self.model.architecture == "cross_encoder" else alone
        tokens = [len(ids) + with_query for ids in self.model.passage_tokens(passages)]
        asked = [len(ids) + alone for ids in self.model.query_tokens(texts)]
        works = [
            Work(query_tokens=count, candidate_tokens=tuple(tokens[at] for at in of))
            for count, of in zip(asked, places, strict=True)
        ]
        return scores, works

    @cached_property
    def _special_tokens(self) -> tuple[int, int]:
        """How many stand around one text, and around two that are read together."""
        encoder = self.model.encoder
        # Counted by the mask: rows may be padded to a size that products like.
        return int(encoder.single([[]]).mask_NL.sum()), int(encoder.pairs([([], [])]).mask_NL.sum())

    # -- all passages, without a first stage -------------------------------------------------------------------------

    def nearest(
        self, queries: Queries, k: int, filter: PassageFilter | None = None
    ) -> tuple[pa.Table, list[Work]]:
        """Schema RETRIEVED: the best ``k`` of all passages by their token vectors, and what each question cost.

        What is told of the cost is the encoding: comparing vectors is the search in the index. Raises UserError without
        token vectors.
        """
        if self._search is None:
            raise UserError(
                "source multivector: it searches precomputed token vectors, and there are none; make them with "
                "kard-ray token_vectors (reranker.architecture late_interaction), or use source reranker."
            )
        assert isinstance(self.model, LateInteraction)
        ids, texts = _named(queries)
        if k < 1 or not texts:
            return RETRIEVED.empty_table(), [Work(query_tokens=0) for _ in texts]
        chosen = self.base.config.filter if filter is None else filter
        encoded = self.model.encode_queries(texts)
        documents_QK, scores_QK = self._search.search(
            encoded, k, candidates=self.config.depth, allowed_N=self.base.allowed(chosen), filter=chosen
        )
        # An empty question has vectors of special tokens, but no meaning: it finds nothing, as with BM25.
        blank = np.array([not any(c.isalnum() for c in text) for text in texts], bool)
        documents_QK[blank], scores_QK[blank] = -1, 0.0
        works = [Work(query_tokens=len(query), precomputed=True) for query in encoded]
        return self.base.rows(ids, documents_QK, scores_QK), works

    @cached_property
    def _arrays(self) -> TokenArrays | None:
        return None if self.vectors_folder is None else TokenArrays.open(self.vectors_folder)

    @cached_property
    def _search(self) -> MultivectorSearch | None:
        if self.vectors_folder is None or self._arrays is None:
            return None
        return MultivectorSearch(self.vectors_folder, TABLE, self._arrays, self.base.id_order)


def interpolated(own_C: np.ndarray, first_C: np.ndarray, weight: float) -> np.ndarray:
    """float32 ``[C]``: ``weight`` of the first stage's scores and the rest of the reranker's own.

    Both are standardised over the question's candidates, as their scales differ; scores that are all equal become 0.
    With a weight of 0 the reranker's own scores stay as they are.
    """
    if not weight or not len(own_C):
        return own_C
    return (weight * _standardised(first_C) + (1 - weight) * _standardised(own_C)).astype(np.float32)


def _standardised(score_C: np.ndarray) -> np.ndarray:
    centred = score_C.astype(np.float64) - score_C.mean(dtype=np.float64)
    spread = float(centred.std())
    return centred / spread if spread > _NO_SPREAD * float(np.abs(score_C).max()) else np.zeros_like(centred)


def _named(queries: Queries) -> tuple[list[str], list[str]]:
    """Ids and texts; the positions are the ids of a plain list."""
    named = dict(queries) if isinstance(queries, Mapping) else {str(n): q for n, q in enumerate(queries)}
    return list(named), list(named.values())


class RerankingRetriever:
    """Adds ``passages`` to batches, as :class:`kard_ray.knowledge.retrieval.Retriever` does; an actor's callable."""

    def __init__(
        self,
        folder: str,
        k: int,
        query_column: str,
        reranker: TrainedReranker,
        config: RetrievalConfig | None = None,
        version: str | int | None = None,
    ) -> None:
        base = KnowledgeBase(folder, config, version=version)
        self.reranking = Reranking(base, reranker.folder, reranker.token_vectors, reranker.config)
        self.k, self.query_column = k, query_column

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One query per row, read from ``query_column``."""
        found = self.reranking.rerank(batch[self.query_column].to_pylist(), self.k)
        return batch.append_column("passages", pa.array(by_query(found, batch.num_rows), PASSAGE_LIST))
