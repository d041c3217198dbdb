"""Searches for the questions of students: many queries at once, beside the engine that answers them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import pyarrow as pa

from kard_ray.evaluation.query_cost import RerankerCost, query_flops
from kard_ray.evaluation.sources import RERANKED, Search
from kard_ray.knowledge.retrieval import KnowledgeBase, Mode, RetrievalConfig, by_query
from kard_ray.reranker.trained import TrainedReranker
from kard_ray.runtime.dialogue import Find
from kard_ray.runtime.models import resolve_model

if TYPE_CHECKING:
    from kard_ray.reranker.retrieval import Reranking

_CPUS = (
    0.25  # that Ray reserves for a searching actor; what it really takes, it takes between the engine's steps
)
_RESTARTS = 4  # of a searching actor whose process ended

SEARCHES = pa.list_(
    pa.struct(
        [
            ("query", pa.string()),
            ("passage_ids", pa.list_(pa.string())),
            ("retriever_flops", pa.float64()),  # null when the encoder's architecture is not counted
            ("reranker_flops", pa.float64()),
        ]
    )
)  # one entry per round


@dataclass(frozen=True, slots=True)
class KnowledgeSource:
    """The knowledge base that questions are asked of, and the reranker of what it finds."""

    folder: str
    version: str | int | None  # tag or LanceDB number; None: the newest
    retrieval: RetrievalConfig
    reranker: TrainedReranker | None = None


class How(NamedTuple):
    """Which search a Find asks for: of one student's knowledge base, since students share an engine."""

    student: int
    search: Search


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What one query found, best first, and what that cost in FLOPs (None: not counted)."""

    passages: list[dict[str, Any]]
    retriever_flops: float | None = 0.0
    reranker_flops: float | None = 0.0

    def record(self, query: str) -> dict[str, Any]:
        """One entry of SEARCHES."""
        return {
            "query": query,
            "passage_ids": [passage["passage_id"] for passage in self.passages],
            "retriever_flops": self.retriever_flops,
            "reranker_flops": self.reranker_flops,
        }


class Searcher:
    """The knowledge bases of the students of one engine, opened for searching; those that are the same once."""

    def __init__(self, known: Sequence[KnowledgeSource | None]) -> None:
        sources: list[KnowledgeSource] = []
        self._of: list[int | None] = []  # by student
        for source in known:
            if source is not None and source not in sources:
                sources.append(source)
            self._of.append(None if source is None else sources.index(source))
        self._opened = [_Opened(source) for source in sources]

    def find(self, requests: Sequence[Find]) -> list[Found]:
        """What each request found; its ``how`` is a :class:`How`."""
        groups: dict[tuple[int, Search, int], list[int]] = {}
        for at, request in enumerate(requests):
            how = cast("How", request.how)
            opened = self._of[how.student]
            assert opened is not None  # else no row of this student has a source to search
            groups.setdefault((opened, how.search, request.k), []).append(at)
        found: dict[int, Found] = {}
        for (opened, search, k), places in groups.items():
            of_group = self._opened[opened].find([requests[at].query for at in places], search, k)
            found |= dict(zip(places, of_group, strict=True))
        return [found[at] for at in range(len(requests))]


class _Opened:
    """One knowledge base with what is read of it; parts are opened when they are first asked for."""

    def __init__(self, source: KnowledgeSource) -> None:
        self.source = source

    def find(self, queries: Sequence[str], search: Search, k: int) -> list[Found]:
        if search in RERANKED:
            return self._reranked(queries, search, k)
        mode = cast("Mode", search)
        passages = by_query(self.base.retrieve(queries, k, mode), len(queries))
        flops = self._encoding(queries, mode)
        return [Found(passages=of, retriever_flops=cost) for of, cost in zip(passages, flops, strict=True)]

    def _reranked(self, queries: Sequence[str], search: Search, k: int) -> list[Found]:
        direct = search == "multivector"
        found, works = (self.reranking.nearest if direct else self.reranking.rerank_and_count)(queries, k)
        passages = by_query(found, len(queries))
        costs: list[float | None] = [None] * len(queries)
        if (cost := self._reranker_cost) is not None:
            costs = [cost.flops(work) for work in works]
        if direct:  # the reranker's encoder is the retriever
            return [Found(passages=of, retriever_flops=c) for of, c in zip(passages, costs, strict=True)]
        first = self._encoding(queries, self.reranking.config.first_stage)
        return [
            Found(passages=of, retriever_flops=before, reranker_flops=c)
            for of, before, c in zip(passages, first, costs, strict=True)
        ]

    def _encoding(self, queries: Sequence[str], mode: Mode) -> Sequence[float | None]:
        """FLOPs of encoding each query; BM25 multiplies no matrices."""
        settings = self.base.settings
        if mode == "bm25" or settings.embedder is None:
            return [0.0] * len(queries)
        flops = query_flops(resolve_model(settings.embedder).path, queries, prefix=settings.query_prefix)
        return [None] * len(queries) if flops is None else flops

    @cached_property
    def base(self) -> KnowledgeBase:
        return KnowledgeBase(self.source.folder, self.source.retrieval, version=self.source.version)

    @cached_property
    def reranking(self) -> Reranking:
        # Imported here: torch takes seconds, and the recipe, which every process reads, needs none of it.
        from kard_ray.reranker.retrieval import Reranking

        assert self.source.reranker is not None  # else no row has such a source
        trained = self.source.reranker
        return Reranking(self.base, trained.folder, trained.token_vectors, trained.config)

    @cached_property
    def _reranker_cost(self) -> RerankerCost | None:
        assert self.source.reranker is not None
        return RerankerCost.of_folder(self.source.reranker.folder)


class Searching(Protocol):
    """Searches in another thread or process; picklable, to be used where rows are asked."""

    def begin(self, requests: Sequence[Find]) -> Future[list[Found]]:
        """Begin to search; the future holds what each request found."""
        ...


class SearchHere:
    """Searches in a thread of this process, which opens what it searches when it is first asked."""

    def __init__(self, known: Sequence[KnowledgeSource | None]) -> None:
        self.known = known

    def begin(self, requests: Sequence[Find]) -> Future[list[Found]]:
        """As :meth:`Searching.begin`."""
        return self._pool.submit(self._find, requests)

    def _find(self, requests: Sequence[Find]) -> list[Found]:
        return self._searcher.find(requests)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self.known)


class SearchThere:
    """Searches in a Ray actor, which prompts and dialogues share: neither holds up the engine's process."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def begin(self, requests: Sequence[Find]) -> Future[list[Found]]:
        """As :meth:`Searching.begin`."""
        future: Future[list[Found]] = self.actor.find.remote(list(requests)).future()
        return future


@contextmanager
def searching(known: Sequence[KnowledgeSource | None], *, beside: bool) -> Iterator[Searching]:
    """What searches while the context is open; ``beside``: in an actor of its own, for rows that search again."""
    if not beside:
        yield SearchHere(known)
        return
    import ray

    actor: Any = (
        ray.remote(Searcher)
        .options(num_cpus=_CPUS, max_restarts=_RESTARTS, max_task_retries=_RESTARTS)
        .remote(known)
    )
    try:
        yield SearchThere(actor)
    finally:
        ray.kill(actor)
