"""Paid replies, kept for ever: append-only files of text that a teacher wrote, keyed by everything that decided it.

A reply is on disk before anybody waits for the next one, so ``kill -9`` costs only the requests that are in flight. On
a local disk a writer appends one JSON line per reply to a journal of its own; elsewhere (``s3://``), where nothing can
be appended, it writes small whole files. Journals are packed into Parquet files between runs. Errors stand in files of
their own and are never read as replies.

The ledger lies beside the artifacts, not in one: another filter, another number of samples, or more questions make
another artifact, and find the replies that were paid for.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

REPLIES = pa.schema(
    [
        pa.field("key", pa.string()),  # hash of prompt, model, sampling, sample and item
        pa.field("item_id", pa.string()),  # what was asked about: a question, or a rationale
        pa.field("sample", pa.int32()),
        pa.field("generated_text", pa.string()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("generated_tokens", pa.int32()),
        pa.field("finish_reason", pa.string()),
        pa.field("error", pa.string()),  # empty for a reply
    ]
)

_Kind = Literal["replies", "errors"]
_JOURNAL, _PACKED, _TEMPORARY = ".jsonl", ".parquet", ".tmp"
_CHUNK_ROWS, _CHUNK_SECONDS = 64, 2.0  # where nothing can be appended: a file so often at most
_PACK_FILES = 8  # fewer journals are not worth packing


class Ledger:
    """The ledger at ``url``; many writers may be open, :meth:`pack` needs them closed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, self.path = fsspec.core.url_to_fs(url)

    def finished(self) -> set[str]:
        """Keys that have a reply."""
        return {key for table in self._tables("replies", ["key"]) for key in table["key"].to_pylist()}

    def replies(self, keys: pa.Array) -> pa.Table:
        """The replies of ``keys`` (schema REPLIES), one per key, sorted by key; keys without one are left out."""
        return self._of("replies", keys)

    def errors(self, keys: pa.Array) -> pa.Table:
        """The last error of each of ``keys`` (schema REPLIES), whether or not it has a reply by now."""
        return self._of("errors", keys)

    def tokens(self) -> int:
        """Prompt and generated tokens of all replies and errors: what the teacher was paid for so far."""
        counted = ["prompt_tokens", "generated_tokens"]
        none = REPLIES.empty_table().select(["key", *counted])
        replies = pa.concat_tables([none, *self._tables("replies", ["key", *counted])])
        # A reply stands twice when packing was killed; each error was an attempt of its own.
        once = replies.group_by("key").aggregate([(name, "max") for name in counted])
        columns = [once[f"{name}_max"] for name in counted]
        columns += [table[name] for table in self._tables("errors", counted) for name in counted]
        return sum(int(pc.sum(column).as_py() or 0) for column in columns)

    def writer(self) -> LedgerWriter:
        """A writer with files of its own."""
        return LedgerWriter(self.url)

    def pack(self) -> None:
        """One Parquet file of each kind's journals. Killed in between, rows are there twice, which readers bear."""
        kinds: tuple[_Kind, ...] = ("replies", "errors")
        for kind in kinds:
            journals = [path for path in self._files(kind) if path.endswith(_JOURNAL)]
            if len(journals) < _PACK_FILES:
                continue
            target = self._at(kind, f"{uuid.uuid4().hex}{_PACKED}")
            with self.fs.open(target + _TEMPORARY, "wb") as sink, pq.ParquetWriter(sink, REPLIES) as writer:
                for path in journals:
                    writer.write_table(self._read(path))
            self.fs.mv(target + _TEMPORARY, target)
            for path in journals:
                self.fs.rm_file(path)

    def _of(self, kind: _Kind, keys: pa.Array) -> pa.Table:
        found = [REPLIES.empty_table()]
        found += [
            table.filter(pc.is_in(table["key"], value_set=keys))
            for table in self._tables(kind, REPLIES.names)
        ]
        table = pa.concat_tables(found)
        last = (
            pa.table({"key": table["key"], "at": pa.array(range(table.num_rows), pa.int64())})
            .group_by("key")
            .aggregate([("at", "max")])
            .sort_by("key")
        )
        return table.take(last["at_max"])

    def _tables(self, kind: _Kind, columns: list[str]) -> Iterator[pa.Table]:
        for path in self._files(kind):
            yield self._read(path, columns)

    def _read(self, path: str, columns: list[str] | None = None) -> pa.Table:
        with self.fs.open(path, "rb") as source:
            if path.endswith(_PACKED):
                return pq.read_table(source, columns=columns).select(columns or REPLIES.names)
            lines = source.read()
        whole = lines[: lines.rfind(b"\n") + 1]  # a writer that was killed may leave half a line
        if not whole:
            return REPLIES.empty_table().select(columns or REPLIES.names)
        options = pa.json.ParseOptions(explicit_schema=REPLIES, unexpected_field_behavior="ignore")
        blocks = pa.json.ReadOptions(block_size=max(1 << 20, _longest_line(whole) + 1))
        table = pa.json.read_json(io.BytesIO(whole), parse_options=options, read_options=blocks)
        return table.select(columns or REPLIES.names)

    def _files(self, kind: _Kind) -> list[str]:
        self.fs.invalidate_cache()
        folder = self._at(kind)
        found = self.fs.ls(folder, detail=False) if self.fs.exists(folder) else []
        return sorted(path for path in found if path.endswith((_JOURNAL, _PACKED)))

    def _at(self, *names: str) -> str:
        return posixpath.join(self.path, *names)


class LedgerWriter:
    """Appends to files of its own. One thread at a time; an actor's ``async`` code counts as one."""

    def __init__(self, url: str) -> None:
        self.fs, self.path = fsspec.core.url_to_fs(url)
        protocol = self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        self._appends = "file" in protocol
        self._open: dict[_Kind, int] = {}
        self._waiting: dict[_Kind, list[bytes]] = {"replies": [], "errors": []}
        self._written = time.monotonic()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep ``rows`` (fields of REPLIES). On a local disk they survive the death of this process at once.

        Elsewhere they wait for :meth:`flush`, for 64 rows, or for two seconds, whichever comes first.
        """
        for row in rows:
            kind: _Kind = "errors" if row["error"] else "replies"
            self._waiting[kind].append(_line(row))
        waiting = sum(map(len, self._waiting.values()))
        if self._appends or waiting >= _CHUNK_ROWS or time.monotonic() - self._written >= _CHUNK_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for kind, lines in self._waiting.items():
            if not lines:
                continue
            if self._appends:
                _write_all(self._journal(kind), b"".join(lines))
            else:
                self._write_file(kind, b"".join(lines))
            lines.clear()
        self._written = time.monotonic()

    def close(self) -> None:
        """Write what waits and close the journals."""
        self.flush()
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _journal(self, kind: _Kind) -> int:
        if kind not in self._open:
            folder = os.path.join(self.path, kind)
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, f"{uuid.uuid4().hex}{_JOURNAL}")
            self._open[kind] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return self._open[kind]

    def _write_file(self, kind: _Kind, data: bytes) -> None:
        folder = posixpath.join(self.path, kind)
        self.fs.makedirs(folder, exist_ok=True)
        target = posixpath.join(folder, f"{uuid.uuid4().hex}{_JOURNAL}")
        with self.fs.open(target + _TEMPORARY, "wb") as sink:
            sink.write(data)
        self.fs.mv(target + _TEMPORARY, target)


def _line(row: Mapping[str, Any]) -> bytes:
    """One JSON line; half characters (lone surrogates), which no file can hold, become question marks."""
    plain = {name: row[name] for name in REPLIES.names}
    for name in ("generated_text", "error"):
        plain[name] = plain[name].encode(errors="replace").decode()
    return json.dumps(plain).encode() + b"\n"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _longest_line(data: bytes) -> int:
    return max(map(len, data.split(b"\n")))
