"""One's own documents as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.fields import FieldMapping, document_of
from kard_ray.knowledge.readers.lines import line_shards, parse_json, read_lines
from kard_ray.runtime.config import Frozen


class JsonlCorpus(Frozen):
    """Documents from JSON Lines files; a row that cannot be used is kept in ``failures`` with its reason.

    Files may be compressed (.gz, .bz2, .xz, .zst); a large one that is not is read by several workers.
    """

    LONG: ClassVar[bool] = False

    kind: Literal["jsonl"] = "jsonl"
    path: str = Field(min_length=1)  # a file or a glob, local or a URL such as s3://bucket/*.jsonl.gz
    fields: FieldMapping = FieldMapping()  # which keys hold id, title, text and the rest

    def fingerprint(self) -> str:
        """A hash over the files' contents."""
        return files.fingerprint_of(files.find_files(self.path))

    def shards(self) -> list[str]:
        """The files, or ranges of the large ones."""
        return line_shards(files.find_files(self.path))

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """Rows of one shard, in order."""
        return read_documents(shard, self.fields)


def read_documents(shard: str, mapping: FieldMapping) -> Iterator[Document | BadRow]:
    """The rows of a shard of JSON Lines (see ``line_shards``), in order."""
    for found in read_lines(shard):
        yield found if isinstance(found, BadRow) else parse_line(found[1], mapping, where=found[0])


def parse_line(line: bytes, mapping: FieldMapping, *, where: str) -> Document | BadRow:
    """One JSON line as a document, or why it is none."""
    row = parse_json(line, where=where)
    return row if isinstance(row, BadRow) else document_of(row, mapping, where)
