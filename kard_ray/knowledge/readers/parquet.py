"""One's own documents as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import pyarrow.parquet as pq
from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.columns import BATCH_ROWS, documents_of
from kard_ray.knowledge.readers.fields import FieldMapping, check_columns
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError


class ParquetCorpus(Frozen):
    """Documents from Parquet files; only the columns that the recipe names are read."""

    LONG: ClassVar[bool] = False

    kind: Literal["parquet"] = "parquet"
    path: str = Field(min_length=1)  # a file, a glob, or a folder (every *.parquet below it); local or a URL
    fields: FieldMapping = FieldMapping()  # which columns hold id, title, text and the rest

    def fingerprint(self) -> str:
        """A hash over the files' contents."""
        return files.fingerprint_of(self._files())

    def shards(self) -> list[str]:
        """The row groups as JSON: path, number of the group. Raises UserError if a file lacks a column."""
        shards: list[str] = []
        for url in self._files():
            with _opened(url) as parquet:
                check_columns(self.fields, parquet.schema_arrow.names, where=url)
                rows = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
                shards += [json.dumps({"path": url, "group": n}) for n, count in enumerate(rows) if count]
        if not shards:
            raise UserError(f"{files.FIELD}: the files of {self.path!r} have no rows.")
        return shards

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """Rows of one row group, in order; rows are numbered from 1 in the file."""
        part = json.loads(shard)
        url, group = part["path"], part["group"]
        with _opened(url) as parquet:
            names = parquet.schema_arrow.names
            check_columns(self.fields, names, where=url)
            first = 1 + sum(parquet.metadata.row_group(n).num_rows for n in range(group))
            columns = self.fields.among(names)
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                yield from documents_of(batch, self.fields, where=url, first=first)
                first += batch.num_rows

    def _files(self) -> list[str]:
        return files.find_files(self.path, in_folder="*.parquet")


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    # Buffered, a row group is read piece by piece rather than as a whole.
    with (
        files.open_file(url) as stream,
        pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False) as parquet,
    ):
        yield parquet
