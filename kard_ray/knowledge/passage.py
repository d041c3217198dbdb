"""Documents, passages and their Arrow schemas."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import pyarrow as pa

TABLE = "passages"  # the LanceDB table of a knowledge base

PASSAGES = pa.schema(
    [
        pa.field("passage_id", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),  # the document it was cut from
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # collection, "" when not known
        pa.field("language", pa.string(), nullable=False),  # BCP 47 tag such as "en", "" when not known
        pa.field("date", pa.date32()),
        pa.field("start", pa.int32(), nullable=False),  # span in the document's text, in characters
        pa.field("end", pa.int32(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),  # of everything above: equal means unchanged
        pa.field("content", pa.string(), nullable=False),  # what is searched: title, newline, text
    ]
)

# One retrieved passage of one query: rank counts from 0; score is the mode's own (higher is better).
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
class Document:
    """What a corpus reader yields: a text with a stable id; it becomes one passage or several.

    ``source`` names the collection it comes from, ``language`` is a BCP 47 tag; both "" when not known.
    """

    source_id: str
    title: str
    text: str
    source: str = ""
    language: str = ""
    date: datetime.date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A corpus row that cannot be a document, and why; kept in the artifact's ``failures``."""

    where: str
    reason: str


def embedded(dimensions: int) -> pa.Schema:
    """PASSAGES with what the embedder adds: a vector of length 1. Without an embedder (0) the schema is PASSAGES."""
    if not dimensions:
        return PASSAGES
    return PASSAGES.append(pa.field("vector", pa.list_(pa.float32(), dimensions)))
