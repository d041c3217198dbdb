"""Find passages: a query is text, never a query language."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lancedb
import pyarrow as pa
import ray
from lancedb.query import MatchQuery

from kard_ray.knowledge.passage import RETRIEVED, TABLE

_MARGIN = 8  # extra hits fetched at first so that ties at the cut are broken by id, not by storage order


class KnowledgeBase:
    """A built knowledge base, opened for reading."""

    def __init__(self, folder: str, *, version: int | None = None, threads: int = 2) -> None:
        self.table = lancedb.connect(folder).open_table(TABLE)
        if version is not None:
            self.table.checkout(version)
        self.threads = threads

    def bm25(self, query: str, k: int) -> list[dict[str, Any]]:
        """The k best passages for ``query`` by BM25 over title and text, best first; ties by passage id."""
        if not any(character.isalnum() for character in query):
            return []
        limit = k + _MARGIN
        while True:
            hits = (
                self.table.search(MatchQuery(query, "content"), query_type="fts")  # type: ignore[call-arg]
                .limit(limit)
                .select(["passage_id", "title", "text", "_score"])
                .to_list()
            )
            scores = sorted((hit["_score"] for hit in hits), reverse=True)
            if k < 1 or len(hits) < limit or scores[-1] < scores[k - 1]:
                break
            limit *= 2  # the tie at the cut goes on: who is first by id is not known yet
        return sorted(hits, key=lambda hit: (-hit["_score"], hit["passage_id"]))[:k]

    def retrieve(self, query_ids: list[str], queries: list[str], k: int) -> pa.Table:
        """Schema RETRIEVED: up to k rows per query, in the order of the queries, best first."""
        with ThreadPoolExecutor(self.threads) as pool:
            found = list(pool.map(lambda query: self.bm25(query, k), queries))
        rows = [
            {
                "query_id": query_id,
                "passage_id": hit["passage_id"],
                "rank": rank,
                "score": hit["_score"],
                "title": hit["title"],
                "text": hit["text"],
            }
            for query_id, hits in zip(query_ids, found, strict=True)
            for rank, hit in enumerate(hits)
        ]
        return pa.Table.from_pylist(rows, schema=RETRIEVED)


class Retriever:
    """Adds ``passages`` (list of {passage_id, title, text, score}, best first) to batches; an actor's callable."""

    def __init__(self, folder: str, k: int, query_column: str) -> None:
        self.base = KnowledgeBase(folder)
        self.k, self.query_column = k, query_column

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One query per row, read from ``query_column``."""
        found: list[list[dict[str, Any]]] = [[] for _ in range(batch.num_rows)]
        hits = self.base.retrieve(
            [str(i) for i in range(batch.num_rows)], batch[self.query_column].to_pylist(), self.k
        )
        for hit in hits.to_pylist():
            found[int(hit["query_id"])].append({name: hit[name] for name in PASSAGE_LIST.value_type.names})
        return batch.append_column("passages", pa.array(found, PASSAGE_LIST))


PASSAGE_LIST = pa.list_(
    pa.struct(
        [("passage_id", pa.string()), ("title", pa.string()), ("text", pa.string()), ("score", pa.float32())]
    )
)


def retrieve_for(rows: ray.data.Dataset, *, folder: str, k: int, query_column: str) -> ray.data.Dataset:
    """Ray Data edge of :class:`Retriever`."""
    return rows.map_batches(
        Retriever,
        fn_constructor_args=(folder, k, query_column),
        batch_format="pyarrow",
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )


def passage_texts(folder: str, passage_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """``{passage_id: {title, text}}`` of the given ids; ids that are not in the knowledge base are left out."""
    table = lancedb.connect(folder).open_table(TABLE)
    wanted = sorted(set(passage_ids))
    found: dict[str, dict[str, str]] = {}
    for at in range(0, len(wanted), 500):
        # Typed values only: ids become SQL string literals with quotes doubled, never raw text.
        literals = ", ".join(
            "'" + passage_id.replace("'", "''") + "'" for passage_id in wanted[at : at + 500]
        )
        rows = table.search().where(f"passage_id IN ({literals})").limit(500).to_list()
        found |= {row["passage_id"]: {"title": row["title"], "text": row["text"]} for row in rows}
    return found
