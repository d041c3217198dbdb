"""One's own documents as CSV or TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO, ClassVar, Literal

from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.fields import (
    MAX_DOCUMENT_CHARACTERS,
    FieldMapping,
    check_columns,
    document_of,
)
from kard_ray.knowledge.readers.lines import lines_between, too_long
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError


class CsvCorpus(Frozen):
    """Documents from CSV files in UTF-8 whose first row names the columns; they may be compressed.

    A quoted field may span lines, so that one file is read by one worker.
    """

    LONG: ClassVar[bool] = False

    kind: Literal["csv"] = "csv"
    path: str = Field(min_length=1)  # a file or a glob, local or a URL such as s3://bucket/*.csv.gz
    # Between fields, such as "\t"
    delimiter: str = Field(",", min_length=1, max_length=1, pattern=r'[^"\r\n]')
    fields: FieldMapping = FieldMapping()  # which columns hold id, title, text and the rest

    def fingerprint(self) -> str:
        """A hash over the files' contents."""
        return files.fingerprint_of(files.find_files(self.path))

    def shards(self) -> list[str]:
        """The files. Raises UserError if the first one lacks a column that the recipe names."""
        found = files.find_files(self.path)
        with files.open_plain(found[0]) as stream:
            self._header(_Records(stream, found[0], self.delimiter))
        return found

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """Rows of one file, in order; one with more or fewer fields than the header is bad."""
        with files.open_plain(shard) as stream:
            records = _Records(stream, shard, self.delimiter)
            header = self._header(records)
            for found in records:
                if isinstance(found, BadRow):
                    yield found
                    continue
                where, row = found
                if len(row) == len(header):
                    yield document_of(dict(zip(header, row, strict=True)), self.fields, where)
                else:
                    yield BadRow(where=where, reason=f"{len(row)} fields, but the header names {len(header)}")

    def _header(self, records: _Records) -> list[str]:
        first = next(records, None)
        if isinstance(first, BadRow):
            raise UserError(f"{files.FIELD}: {first.where} is no header row: {first.reason}.")
        if first is None:
            return []  # an empty file has no rows either
        check_columns(self.fields, first[1], where=records.url)
        return first[1]


class _Records:
    """Iterator of (where, fields) of each record that is not blank, or of what is wrong with it."""

    def __init__(self, stream: IO[bytes], url: str, delimiter: str) -> None:
        # The limit belongs to the process; it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_DOCUMENT_CHARACTERS + 1))
        self.url = url
        self._stream = stream
        self._number = 0  # lines read
        self._bad: list[BadRow] = []
        self._rows = csv.reader(self._lines(), delimiter=delimiter, strict=True)

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> tuple[str, list[str]] | BadRow:
        while not self._bad:
            first = self._number + 1
            where = f"{self.url}:{first}"
            try:
                row = next(self._rows)
            except StopIteration:
                break
            except csv.Error as error:
                lines = f" (lines {first} to {self._number})" if self._number > first else ""
                return BadRow(where=where, reason=f"not a CSV record{lines}: {error}")
            if row:
                return where, row
        if self._bad:
            return self._bad.pop(0)
        raise StopIteration

    def _lines(self) -> Iterator[str]:
        for _, line in lines_between(self._stream):
            self._number += 1
            if line is None:
                self._bad.append(too_long(f"{self.url}:{self._number}"))
                continue
            if self._number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            # Bytes that are not UTF-8 become halves of surrogate pairs, which document_of refuses.
            yield line.decode("utf-8", "surrogateescape")
