"""The part that searches: versions of one knowledge base, opened for reading, with or without a reranker behind."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pyarrow as pa

from kard_ray.knowledge.filters import PassageFilter
from kard_ray.knowledge.fragments import is_in
from kard_ray.knowledge.indexes import check_indexes
from kard_ray.knowledge.retrieval import KnowledgeBase, Mode
from kard_ray.runtime.errors import UserError
from kard_ray.serving.errors import ServiceError, unavailable
from kard_ray.serving.logs import logger, told
from kard_ray.serving.parts import NOT_READY, Found, Query
from kard_ray.serving.plan import KnowledgePlan
from kard_ray.serving.routing import RERANKED

_OPEN = 4  # versions that are kept open; a change of version needs two for a moment
_TOGETHER = 16  # queries of one search
_PROBE = "a"  # what health checks search for


class Searches:
    """Searches of one kind, gathered: what comes while one is at work goes together into the next.

    Nothing waits for more queries to come. Queries that differ in version, mode, k or filter are searched apart.
    """

    def __init__(self, plan: KnowledgePlan, *, reranked: bool) -> None:
        """Opens and tries everything. Raises UserError when a version lacks an index or does not fit the reranker."""
        self.plan, self.reranked = plan, reranked
        self._open: OrderedDict[str, KnowledgeBase] = OrderedDict()
        self._rerankings: dict[str, Any] = {}
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._waiting: list[tuple[Query, asyncio.Future[Found]]] = []
        self._working: asyncio.Task[None] | None = None
        self.broken: str | None = None  # why searches fail now
        self.versions: tuple[str, ...] = ()
        for version in plan.versions:
            self._try(version)
        self.versions = plan.versions

    async def serve_versions(self, versions: Sequence[str]) -> None:
        """Open and try ``versions``; those before stay open while there is room. Raises as the constructor does."""
        loop = asyncio.get_running_loop()
        for version in versions:
            if version not in self._open:
                await loop.run_in_executor(self._threads, self._try, version)
        self.versions = tuple(versions)

    async def find(self, query: Query) -> Found:
        """Passages for ``query``; raises ServiceError 503 when the knowledge base cannot be read."""
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((query, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def probe(self) -> None:
        """Search for something; after a failure everything is opened anew, so that a mended folder is found again."""
        loop = asyncio.get_running_loop()
        try:
            for version in self.versions:
                await loop.run_in_executor(self._threads, self._search_for_probe, version)
        except Exception as error:  # noqa: BLE001 - whatever it is, the part is not ready, and tries to mend itself
            self._fail(error)
            await loop.run_in_executor(self._threads, self._close)
        else:
            self.broken = None

    # -- in this loop ------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            batch = [(query, answer) for query, answer in batch if not answer.done()]
            groups: dict[tuple[Any, ...], list[tuple[Query, asyncio.Future[Found]]]] = {}
            for query, answer in batch:
                key = (query.version, query.mode, query.k, repr(query.filter))
                groups.setdefault(key, []).append((query, answer))
            for group in groups.values():
                queries = [query for query, _ in group]
                try:
                    found = await loop.run_in_executor(self._threads, self._search, queries)
                except Exception as error:  # noqa: BLE001 - told to each of those that wait for this search
                    why = self._refusal(queries[0], error)
                    for _, answer in group:
                        if not answer.done():
                            answer.set_exception(why)
                else:
                    for (_, answer), one in zip(group, found, strict=True):
                        if not answer.done():
                            answer.set_result(one)

    def _refusal(self, query: Query, error: Exception) -> ServiceError:
        """What those that wait are told. A reranker fits one version: that of another may be starting, or leaving."""
        if self.reranked and query.version not in self.versions:
            sentence = f"the reranker of version {query.version} is not loaded yet."
            return ServiceError(503, NOT_READY, sentence, None, 1)
        self._fail(error)
        return unavailable("the knowledge base")

    def _fail(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, UserError) else type(error).__name__
        if self.broken is None:
            logger.error("a search failed", exc_info=error)
        self.broken = f"the knowledge base cannot be searched ({reason.splitlines()[0][:200]})."

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _search(self, queries: Sequence[Query]) -> list[Found]:
        """Of queries that differ in nothing but their text."""
        began = time.perf_counter()
        first = queries[0]
        base = self._base(first.version)
        chosen = PassageFilter.model_validate(first.filter) if first.filter is not None else None
        texts = [query.text for query in queries]
        if self.reranked:
            reranking = self._reranking(first.version)
            rank = reranking.nearest if first.mode == "multivector" else reranking.rerank_and_count
            passages = _with_sources(base, rank(texts, first.k, chosen)[0], len(queries))
        else:
            found = base.search(texts, first.k, cast("Mode", first.mode), chosen)
            passages = _passages(base, *found)
        seconds = time.perf_counter() - began
        for query, of in zip(queries, passages, strict=True):
            told("searched", request_id=query.request_id, mode=query.mode, found=len(of), together=len(queries),
                 milliseconds=round(seconds * 1000, 3))  # fmt: skip
        took = {"rerank": seconds} if self.reranked else {"retrieve": seconds}
        return [Found(passages=of, **took) for of in passages]

    def _base(self, version: str) -> KnowledgeBase:
        if version not in self._open:
            self._open[version] = KnowledgeBase(self.plan.folder, self.plan.retrieval, version=version)
            while len(self._open) > max(_OPEN, len(self.versions)):
                gone, _ = self._open.popitem(last=False)
                self._rerankings.pop(gone, None)
        self._open.move_to_end(version)
        return self._open[version]

    def _reranking(self, version: str) -> Any:
        if version not in self._rerankings:
            from kard_ray.reranker.retrieval import Reranking

            trained = self.plan.reranker
            assert trained is not None  # else there is no such part
            self._rerankings[version] = Reranking(
                self._base(version), trained.folder, trained.token_vectors, trained.config
            )
        return self._rerankings[version]

    def _close(self) -> None:
        self._open.clear()
        self._rerankings.clear()

    def _try(self, version: str) -> None:
        """Open ``version``, check its indexes, and search it once in every way that is served."""
        base = self._base(version)
        check_indexes(self.plan.folder, base.version.number)
        self._search_for_probe(version, self.plan.modes)

    def _search_for_probe(self, version: str, modes: Sequence[str] = ()) -> None:
        own = RERANKED if self.reranked else PLAIN_MODES
        for mode in [mode for mode in modes or self.plan.modes[:1] if mode in own] or own[:1]:
            self._search([Query(text=_PROBE, k=1, mode=mode, version=version)])
        # What a search for one letter finds may be nothing: a passage is read in any case.
        self._base(version).dataset.take([0], columns=["passage_id", "text"])


PLAIN_MODES = ("bm25", "vector", "hybrid")


_COLUMNS = ["passage_id", "title", "text", "source", "source_id"]


def _passages(
    base: KnowledgeBase, documents_QK: np.ndarray, scores_QK: np.ndarray
) -> list[list[dict[str, Any]]]:
    """The passages of each query, best first; -1 is none."""
    unique = np.unique(documents_QK[documents_QK >= 0]).tolist()
    rows = base.dataset.take(unique, columns=_COLUMNS).to_pylist() if unique else []
    known = {document: _one_line_title(row) for document, row in zip(unique, rows, strict=True)}
    return [
        [
            known[document] | {"score": score}
            for document, score in zip(documents, scores, strict=True)
            if document >= 0
        ]
        for documents, scores in zip(documents_QK.tolist(), scores_QK.tolist(), strict=True)
    ]


def _with_sources(base: KnowledgeBase, found: pa.Table, queries: int) -> list[list[dict[str, Any]]]:
    """The passages of each query of a table of schema RETRIEVED."""
    ids = sorted(set(found["passage_id"].to_pylist()))
    columns = ["passage_id", "source", "source_id"]
    known = base.dataset.to_table(columns=columns, filter=is_in("passage_id", ids)).to_pylist() if ids else []
    sources = {row["passage_id"]: row for row in known}
    passages: list[list[dict[str, Any]]] = [[] for _ in range(queries)]
    for row in found.to_pylist():
        passage = {name: row[name] for name in ("passage_id", "title", "text", "score")}
        passages[int(row["query_id"])].append(sources[row["passage_id"]] | _one_line_title(passage))
    return passages


def _one_line_title(row: dict[str, Any]) -> dict[str, Any]:
    """A title is one line of the prompt, whatever a corpus has put into it."""
    return row if row["title"].isprintable() else row | {"title": " ".join(row["title"].split())}
