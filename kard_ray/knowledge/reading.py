"""First phase of an ingest: shards of the corpus to passages on disk, each shard once.

A worker reads a shard, cuts its documents, and writes passages (Parquet, row groups of GROUP_ROWS), keys for finding
duplicates, and failures, all under names of its own attempt; the shard counts as read when its marker, which names
those files, is renamed into place. A killed attempt leaves files that no marker names.
"""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kard_ray.knowledge.chunking import Chunker, ChunkingConfig
from kard_ray.knowledge.cutting import Cutter, Row
from kard_ray.knowledge.idset import IdSet
from kard_ray.knowledge.near_duplicates import DeduplicationConfig, band_keys
from kard_ray.knowledge.passage import PASSAGES, BadRow, Document
from kard_ray.knowledge.readers.reader import CorpusReader
from kard_ray.knowledge.work_files import read_json_files, write_json

GROUP_ROWS = 1024  # passages per row group: what later phases read at a time (about 1 MB of text)
KEYS_PER_FILE = 2_000_000  # 50 MB of keys in memory before they are sorted and written
_DOCUMENTS = 256  # tokenised together

FAILURES = pa.schema([pa.field("where", pa.string()), pa.field("reason", pa.string())])
KEYS = pa.schema(
    [
        pa.field("kind", pa.uint8()),
        pa.field("high", pa.uint64()),
        pa.field("low", pa.uint64()),
        pa.field("place", pa.int64()),
        pa.field("passages", pa.int32()),  # of the document, for SOURCE; else 1
        pa.field("id", pa.string()),
    ]
)
SOURCE, EXACT, BAND = 0, 1, 2  # kinds of keys: a document's id, a passage's text, a band of its MinHash
_SHARD_BITS = 32  # a place is shard number << 32 | row: it orders passages as the corpus does


def place(shard: int, row: int) -> int:
    """The position of a passage in the corpus."""
    return shard << _SHARD_BITS | row


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """GROUP_ROWS passages or fewer in one file; ``first`` is the place of the first of them."""

    file: str
    index: int
    first: int
    ids: IdSet


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRead:
    """What the marker of a finished shard tells."""

    number: int
    documents: int
    failures: int
    groups: tuple[RowGroup, ...]
    keys_files: tuple[str, ...]
    failures_file: str | None

    @property
    def passages(self) -> int:
        """Rows of all groups."""
        return sum(group.ids.size for group in self.groups)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingPlan:
    """What every worker needs to read a shard; picklable."""

    corpus: CorpusReader
    chunking: ChunkingConfig | None
    tokenizer: str | None  # folder of the embedder, when documents are cut
    deduplication: DeduplicationConfig
    max_characters: int
    url: str  # where files go


def marker_name(number: int, shard: str) -> str:
    """Ordered by number, and another one when the shard is another one."""
    return f"{number:07}-{hashlib.sha256(shard.encode()).hexdigest()[:12]}"


class ShardReader:
    """Reads shards; a callable for Ray Data rows ``{number, shard}``."""

    def __init__(self, plan: ReadingPlan) -> None:
        self.plan = plan
        chunker = Chunker(plan.tokenizer, plan.chunking) if plan.chunking and plan.tokenizer else None
        self.cutter = Cutter(chunker, max_characters=plan.max_characters)

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Read one shard; returns its counts."""
        number, shard = int(row["number"]), str(row["shard"])
        name = marker_name(number, shard)
        fs, folder = fsspec.core.url_to_fs(self.plan.url)
        fs.makedirs(folder, exist_ok=True)
        files = _AttemptFiles(fs, folder, f"{name}-{uuid.uuid4().hex[:8]}", number, self.plan.deduplication)
        documents = failures = 0
        for batch in _batches(self.plan.corpus.read(shard), _DOCUMENTS):
            good = [item for item in batch if isinstance(item, Document)]
            results = [item for item in batch if isinstance(item, BadRow)]
            for result in [*results, *self.cutter(good)]:
                if isinstance(result, BadRow):
                    files.fail(result)
                    failures += 1
                else:
                    files.add(result)
                    documents += 1
        marker = files.close() | {"number": number, "documents": documents, "failures": failures}
        write_json(fs, posixpath.join(folder, name + ".json"), marker)
        return {"documents": documents, "failures": failures, "passages": files.rows}


def read_shard(row: dict[str, Any], plan: ReadingPlan) -> dict[str, int]:
    """:class:`ShardReader` for one row; it stands here because workers import this module, which needs no LanceDB."""
    return ShardReader(plan)(row)


class _AttemptFiles:
    """The files of one attempt at one shard."""

    def __init__(
        self, fs: Any, folder: str, name: str, number: int, deduplication: DeduplicationConfig
    ) -> None:
        self.fs, self.folder, self.name, self.number = fs, folder, name, number
        self.deduplication = deduplication
        self.rows = 0
        self.pending: list[Row] = []
        self.sources: list[tuple[str, int, int]] = []  # documents whose keys are not in ``keys`` yet
        self.bad: list[BadRow] = []
        self.groups: list[list[str]] = []
        self.keys: list[pa.Table] = []
        self.keys_files: list[str] = []
        self._sinks: list[Any] = []
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, passages: list[Row]) -> None:
        """The passages of one document."""
        at = place(self.number, self.rows + len(self.pending))
        self.sources.append((passages[0]["source_id"], at, len(passages)))
        for row in passages:
            self.pending.append(row)
            if len(self.pending) == GROUP_ROWS:
                self._flush()

    def fail(self, bad: BadRow) -> None:
        """A row that is no document."""
        self.bad.append(bad)
        if len(self.bad) == GROUP_ROWS:
            self._flush_failures()

    def close(self) -> dict[str, Any]:
        """Write what is left; returns what the marker tells of the files."""
        self._flush()
        self._flush_failures()
        self._write_keys()
        for writer in self._writers.values():
            writer.close()
        for sink in self._sinks:
            sink.close()
        return {
            "file": f"{self.name}.parquet" if self.groups else None,
            "groups": self.groups,
            "keys": self.keys_files,
            "failures_file": f"{self.name}.failures.parquet" if "failures" in self._writers else None,
        }

    def _writer(self, kind: str, file: str, schema: pa.Schema) -> pq.ParquetWriter:
        if kind not in self._writers:
            sink = self.fs.open(posixpath.join(self.folder, file), "wb")
            self._sinks.append(sink)
            self._writers[kind] = pq.ParquetWriter(sink, schema, compression="zstd")
        return self._writers[kind]

    def _flush(self) -> None:
        if not self.pending:
            return
        table = pa.Table.from_pylist(self.pending, schema=PASSAGES)
        ids = [row["passage_id"] for row in self.pending]
        places = list(range(place(self.number, self.rows), place(self.number, self.rows + len(ids))))
        if self.sources:
            self.keys.append(_keys(SOURCE, *zip(*self.sources, strict=True)))
            self.sources = []
        if self.deduplication.exact:
            self.keys.append(
                _keys(EXACT, [_normal(row["content"]) for row in self.pending], places, None, ids)
            )
        if self.deduplication.near is not None:
            bands = band_keys([row["content"] for row in self.pending], self.deduplication)
            self.keys += [_band_table(bands[:, band], band, places) for band in range(bands.shape[1])]
        self.rows += len(ids)
        self.groups.append(IdSet.of(ids).plain())
        self._writer("passages", f"{self.name}.parquet", PASSAGES).write_table(table)
        self.pending = []
        if sum(keys.num_rows for keys in self.keys) >= KEYS_PER_FILE:
            self._write_keys()

    def _flush_failures(self) -> None:
        if self.bad:
            rows = [{"where": bad.where, "reason": bad.reason} for bad in self.bad]
            writer = self._writer("failures", f"{self.name}.failures.parquet", FAILURES)
            writer.write_table(pa.Table.from_pylist(rows, schema=FAILURES))
            self.bad = []

    def _write_keys(self) -> None:
        if not self.keys:
            return
        keys = pa.concat_tables(self.keys).sort_by([("kind", "ascending"), ("high", "ascending")])
        file = f"{self.name}.keys{len(self.keys_files)}.parquet"
        with self.fs.open(posixpath.join(self.folder, file), "wb") as sink:
            pq.write_table(keys, sink, compression="zstd", row_group_size=65_536)
        self.keys_files.append(file)
        self.keys = []


def _normal(content: str) -> str:
    """Text by which exact duplicates are told: white space does not count."""
    return " ".join(content.split())


def _keys(
    kind: int, values: Sequence[str], places: Sequence[int], passages: Sequence[int] | None = None,
    ids: Sequence[str] | None = None,
) -> pa.Table:  # fmt: skip
    digests = b"".join(hashlib.sha256(value.encode()).digest()[:16] for value in values)
    halves = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return pa.table(
        [
            pa.array(np.full(len(values), kind, np.uint8)),
            pa.array(halves[:, 0]),
            pa.array(halves[:, 1]),
            pa.array(places, pa.int64()),
            pa.array(passages if passages is not None else np.ones(len(values), np.int32), pa.int32()),
            pa.array(ids if ids is not None else values, pa.string()),
        ],
        schema=KEYS,
    )


def _band_table(hashes: np.ndarray, band: int, places: Sequence[int]) -> pa.Table:
    rows = len(hashes)
    return pa.table(
        [
            pa.array(np.full(rows, BAND, np.uint8)),
            pa.array(hashes.astype(np.uint64)),
            pa.array(np.full(rows, band, np.uint64)),
            pa.array(places, pa.int64()),
            pa.array(np.ones(rows, np.int32)),
            pa.array([""] * rows, pa.string()),
        ],
        schema=KEYS,
    )


def _batches(items: Iterator[Document | BadRow], size: int) -> Iterator[list[Document | BadRow]]:
    batch: list[Document | BadRow] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def read_markers(url: str, shards: Sequence[str]) -> dict[int, ShardRead]:
    """The shards that were read before, by number."""
    names = {marker_name(number, shard): number for number, shard in enumerate(shards)}
    return {names[name]: _shard_read(marker) for name, marker in read_json_files(url, names).items()}


def _shard_read(marker: dict[str, Any]) -> ShardRead:
    groups, row = [], 0
    for index, plain in enumerate(marker["groups"]):
        ids = IdSet.parse(plain)
        groups.append(RowGroup(file=marker["file"], index=index, first=place(marker["number"], row), ids=ids))
        row += ids.size
    return ShardRead(
        number=marker["number"],
        documents=marker["documents"],
        failures=marker["failures"],
        groups=tuple(groups),
        keys_files=tuple(marker["keys"]),
        failures_file=marker["failures_file"],
    )


def read_group(url: str, group: RowGroup, columns: list[str] | None = None) -> pa.Table:
    """The passages of one row group, in order; a fresh reader every time."""
    fs, folder = fsspec.core.url_to_fs(url)
    with fs.open(posixpath.join(folder, group.file), "rb") as source:
        return pq.ParquetFile(source).read_row_group(group.index, columns=columns)
