"""Documents to passages: cut, checked, with stable ids and a digest that tells a changed passage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from kard_ray.knowledge.chunking import Chunker, Span, passage_id
from kard_ray.knowledge.passage import BadRow, Document

Row = dict[str, Any]  # of schema PASSAGES


class Cutter:
    """Cuts documents with ``chunker``; without one a document is one passage and keeps its id as the passage's."""

    def __init__(self, chunker: Chunker | None, *, max_characters: int) -> None:
        self.chunker, self.max_characters = chunker, max_characters

    def __call__(self, documents: Sequence[Document]) -> Iterable[list[Row] | BadRow]:
        """For each document its passages in order, or why it has none."""
        if self.chunker is None:
            yield from map(self._whole, documents)
            return
        for document, spans in zip(
            documents, self.chunker.spans_of([d.text for d in documents]), strict=True
        ):
            yield [_row(document, passage_id(document.source_id, *span), span) for span in spans] or _empty(
                document
            )

    def _whole(self, document: Document) -> list[Row] | BadRow:
        if len(document.text) > self.max_characters:
            return BadRow(
                where=document.source_id,
                reason=f"{len(document.text)} characters in one passage, at most {self.max_characters} are allowed "
                "(knowledge.max_passage_characters); set knowledge.chunking to cut documents",
            )
        if not document.text.strip():
            return _empty(document)
        return [_row(document, document.source_id, Span(0, len(document.text)))]


def _empty(document: Document) -> BadRow:
    return BadRow(where=document.source_id, reason="the text is empty")


def _row(document: Document, identity: str, span: Span) -> Row:
    text = document.text[span.start : span.end]
    date = document.date.isoformat() if document.date else None
    facts = [
        identity,
        document.source_id,
        document.title,
        text,
        document.source,
        document.language,
        date,
        *span,
    ]
    return {
        "passage_id": identity,
        "source_id": document.source_id,
        "title": document.title,
        "text": text,
        "source": document.source,
        "language": document.language,
        "date": document.date,
        "start": span.start,
        "end": span.end,
        "digest": hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32],
        "content": f"{document.title}\n{text}" if document.title else text,
    }
