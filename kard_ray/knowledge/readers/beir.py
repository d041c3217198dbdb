"""A corpus in the layout of BEIR (Thakur et al. 2021): ``corpus.jsonl`` with ``_id``, ``title`` and ``text``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.fields import FieldMapping
from kard_ray.knowledge.readers.jsonl import read_documents
from kard_ray.knowledge.readers.lines import line_shards
from kard_ray.runtime.config import Frozen

_FIELDS = FieldMapping(id="_id")


class BeirCorpus(Frozen):
    """The documents of a data set such as SciFact; each is one passage, as BEIR measures them."""

    LONG: ClassVar[bool] = False

    kind: Literal["beir"] = "beir"
    path: str = Field(min_length=1)  # the folder that holds corpus.jsonl or corpus.jsonl.gz

    def fingerprint(self) -> str:
        """A hash over the corpus file."""
        return files.fingerprint_of([self._file()])

    def shards(self) -> list[str]:
        """The corpus file, or ranges of it if it is large."""
        return line_shards([self._file()])

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """Rows of one shard, in order."""
        return read_documents(shard, _FIELDS)

    def _file(self) -> str:
        return files.find_in_folder(self.path, ("corpus.jsonl", "corpus.jsonl.gz"))
