"""A passage and its Arrow schemas."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TABLE = "passages"  # the LanceDB table of a knowledge base

PASSAGES = pa.schema(
    [
        pa.field("passage_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)

# One retrieved passage of one query: rank counts from 0, score is the retriever's own (BM25: higher is better).
RETRIEVED = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("passage_id", pa.string()),
        pa.field("rank", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("title", pa.string()),
        pa.field("text", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A short text on one topic; ``passage_id`` is stable across builds."""

    passage_id: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A corpus row that cannot be a passage, and why; kept in the artifact's ``failures``."""

    where: str
    reason: str


def embedded(dimensions: int) -> pa.Schema:
    """PASSAGES with what the knowledge base adds: the searched text and its vector."""
    return PASSAGES.append(pa.field("content", pa.string())).append(
        pa.field("vector", pa.list_(pa.float32(), dimensions))
    )
