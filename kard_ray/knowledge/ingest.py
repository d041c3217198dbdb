"""Corpus to uncommitted Lance fragments on Ray: read and cut, leave duplicates out, embed and write.

Everything finished is kept under ``work_url`` and found again after a kill; nothing is committed here. Passages never
pass through the driver: it holds one line per row group, and the duplicates.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.duplicates import Duplicates, find_duplicates
from kard_ray.knowledge.embedding import EmbedderConfig
from kard_ray.knowledge.fragments import (
    WritingPlan,
    Written,
    check_written,
    plan_units,
    table_uri,
    write_units,
)
from kard_ray.knowledge.idset import IdSet
from kard_ray.knowledge.reading import (
    FAILURES,
    ReadingPlan,
    RowGroup,
    ShardRead,
    read_group,
    read_markers,
    read_shard,
)
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import ResolvedModel
from kard_ray.runtime.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What an ingest has made; the fragments are not committed yet."""

    shards: tuple[ShardRead, ...]
    duplicates: Duplicates
    written: tuple[Written, ...]
    parts_url: str

    @property
    def passages(self) -> int:
        """Passages that were read and are no duplicates."""
        return sum(unit.rows for unit in self.written)

    def counts(self) -> dict[str, int]:
        """For the manifest: documents and passages read, and left out because of what."""
        kinds = self.duplicates.table["kind"].to_pylist()
        sizes = self.duplicates.table["passages"].to_pylist()
        return {
            "documents": sum(shard.documents for shard in self.shards) - kinds.count("source"),
            "passages_read": sum(shard.passages for shard in self.shards),
            **{
                f"duplicates_{name}": sum(n for kind, n in zip(kinds, sizes, strict=True) if kind == name)
                for name in ("source", "exact", "near")
            },
        }

    def failures(self) -> Iterator[pa.Table]:
        """Schema FAILURES: rows that are no documents, and documents whose id was seen before."""
        fs, folder = fsspec.core.url_to_fs(self.parts_url)
        for shard in self.shards:
            if shard.failures_file is not None:
                with fs.open(posixpath.join(folder, shard.failures_file), "rb") as source:
                    yield pq.read_table(source)
        repeated = [row for row in self.duplicates.table.to_pylist() if row["kind"] == "source"]
        reason = "the document id was seen before; the first one is kept"
        rows = [{"where": row["id"], "reason": reason} for row in repeated]
        yield pa.Table.from_pylist(rows, schema=FAILURES)


def ingest(
    config: KnowledgeConfig, model: ResolvedModel | None, *, work_url: str, folder: str,
    base_version: int | None = None, label: str,
) -> Ingested:  # fmt: skip
    """Read ``config.corpus`` and write the fragments of the knowledge base in ``folder`` that are not there yet.

    With ``base_version`` only passages that this version of the table does not have as they are. Raises UserError when
    no passage is left, or one was lost.
    """
    parts_url = posixpath.join(work_url, "read")
    shards = read_shards(config, model, parts_url, label=label)
    duplicates = find_duplicates(parts_url, shards, config.deduplication)
    groups = [group for shard in shards for group in shard.groups]
    units = plan_units(groups, duplicates.places)
    if not units:
        raise UserError(_nothing(shards, parts_url))
    plan = WritingPlan(
        parts_url=parts_url,
        records_url=posixpath.join(
            work_url, "written" if base_version is None else f"written-{base_version}"
        ),
        table=table_uri(folder),
        embedder=embedder_config(config, model),
        base_version=base_version,
    )
    written = write_units(
        units, plan, workers=config.workers, gpus_per_worker=config.gpus_per_worker, label=label
    )
    check_written(written, _expected(parts_url, groups, duplicates.places), folder)
    return Ingested(shards=shards, duplicates=duplicates, written=tuple(written), parts_url=parts_url)


def embedder_config(config: KnowledgeConfig, model: ResolvedModel | None) -> EmbedderConfig | None:
    """The encoder of one actor, which has one core or a GPU."""
    if model is None:
        return None
    return EmbedderConfig(
        model_path=model.path,
        dtype=config.embedder_dtype,
        batch_size=config.embedder_batch,
        threads=1,
        passage_prefix=config.passage_prefix,
    )


def read_shards(
    config: KnowledgeConfig, model: ResolvedModel | None, url: str, *, label: str
) -> tuple[ShardRead, ...]:
    """Read every shard that was not read before, on Ray Data; returns what all of them hold, in order."""
    corpus = config.corpus
    shards = corpus.shards()
    done = read_markers(url, shards)
    todo = [{"number": n, "shard": shard} for n, shard in enumerate(shards) if n not in done]
    if todo:
        plan = ReadingPlan(
            corpus=corpus,
            chunking=config.cut,
            tokenizer=model.path if model is not None else None,
            deduplication=config.deduplication,
            max_characters=config.max_passage_characters,
            url=url,
        )
        read: Any = read_shard
        dataset = ray.data.from_items(todo, override_num_blocks=len(todo)).map(
            read, fn_args=(plan,), num_cpus=1
        )
        with Progress(f"{label}, reading", total=len(shards), unit="shards", done=len(done)) as progress:
            for _ in dataset.iter_rows():
                progress.advance(1)
        done = read_markers(url, shards)
    if len(done) != len(shards):
        raise UserError(
            f"stage {label}: {len(shards) - len(done)} of {len(shards)} shards of the corpus were not read; "
            "run the same command again: finished shards are kept."
        )
    return tuple(done[number] for number in range(len(shards)))


def _expected(url: str, groups: Sequence[RowGroup], dropped: np.ndarray) -> IdSet:
    """The ids that were read and not left out; only row groups with a duplicate are opened."""
    expected = IdSet()
    for group in groups:
        expected = expected.plus(group.ids)
        low, high = np.searchsorted(dropped, [group.first, group.first + group.ids.size])
        if high > low:
            ids = read_group(url, group, ["passage_id"])["passage_id"]
            gone = ids.take(pa.array(dropped[low:high] - group.first))
            expected = expected.minus(IdSet.of(gone.to_pylist()))
    return expected


def _nothing(shards: Sequence[ShardRead], url: str) -> str:
    fs, folder = fsspec.core.url_to_fs(url)
    bad = sum(shard.failures for shard in shards)
    first = ""
    for shard in shards:
        if shard.failures_file is not None and not first:
            with fs.open(posixpath.join(folder, shard.failures_file), "rb") as source:
                row = pq.read_table(source).slice(0, 1).to_pylist()[0]
            first = f"; the first: {row['where']}: {row['reason']}"
    return f"recipe field knowledge.corpus: no row of the corpus can be used ({bad} are bad{first})."
