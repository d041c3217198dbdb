"""What the tests of readers share."""

from __future__ import annotations

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers.reader import CorpusReader


def read_all(corpus: CorpusReader) -> tuple[list[Document], list[BadRow]]:
    """Documents and bad rows of all shards, in the shards' order."""
    rows = [row for shard in corpus.shards() for row in corpus.read(shard)]
    return [r for r in rows if isinstance(r, Document)], [r for r in rows if isinstance(r, BadRow)]
