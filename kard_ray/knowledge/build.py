"""Build the knowledge base: read and embed on Ray Data, check ids and counts, commit once, index.

Workers write finished batches beside the artifact; the driver commits one LanceDB table only after every
passage id is accounted for. A killed worker or driver loses the batches in flight, no more.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import lancedb
import pyarrow as pa
import ray
from lancedb.index import FTS, BTree, IvfFlat
from pydantic import Field

from kard_ray.knowledge.embedding import Embedder
from kard_ray.knowledge.passage import PASSAGES, TABLE, BadRow, embedded
from kard_ray.knowledge.readers.registry import Corpus
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model
from kard_ray.runtime.parts import map_resumable

VERSION = 1


class KnowledgeConfig(Frozen):
    """What the knowledge base holds and how it is searched."""

    EXECUTION = frozenset({"embedder_batch", "workers", "gpus_per_worker"})

    corpus: Corpus
    embedder: str = "bundled:minilm"  # model reference of a sentence encoder
    embedder_dtype: Literal["float32", "bfloat16"] = (
        "bfloat16"  # 3 times as fast on CPUs with bfloat16 instructions
    )
    embedder_batch: int = Field(64, ge=1)  # texts encoded together
    workers: int = Field(2, ge=1)  # embedding actors, one core (or GPU) each
    gpus_per_worker: float = Field(0.0, ge=0)
    stem: bool = True  # full-text index: English stemming
    remove_stop_words: bool = True
    vector_partition_rows: int = Field(4096, ge=256)  # rows per partition of the vector index


def read_corpus(corpus: Any) -> tuple[pa.Table, pa.Table]:
    """Read all shards on Ray Data: (passages of schema PASSAGES, failures with ``where`` and ``reason``).

    A repeated passage id keeps its first row; the others become failures. Raises UserError when no passage is left.
    """

    def rows(item: dict[str, Any]) -> Iterator[dict[str, str]]:
        for row in corpus.read(item["item"]):
            if isinstance(row, BadRow):
                yield {"passage_id": "", "title": row.where, "text": row.reason}
            else:
                yield {"passage_id": row.passage_id, "title": row.title, "text": row.text}

    tables = ray.data.from_items(corpus.shards()).flat_map(rows, num_cpus=1).to_arrow_refs()
    found = [table.select(PASSAGES.names).cast(PASSAGES) for table in ray.get(tables) if table.num_rows]
    everything = pa.concat_tables([PASSAGES.empty_table(), *found])  # files without a row give no table
    everything = everything.sort_by([("passage_id", "ascending"), ("title", "ascending")])
    seen: Counter[str] = Counter()
    good, bad = [], []
    for at, (passage_id, title) in enumerate(
        zip(everything["passage_id"].to_pylist(), everything["title"].to_pylist(), strict=True)
    ):
        seen[passage_id] += 1
        if not passage_id:
            bad.append({"where": title, "reason": everything["text"][at].as_py()})
        elif seen[passage_id] > 1:
            bad.append(
                {"where": passage_id, "reason": f"the passage id occurs {seen[passage_id]} times or more"}
            )
        else:
            good.append(at)
    failures = pa.Table.from_pylist(bad, schema=pa.schema([("where", pa.string()), ("reason", pa.string())]))
    if not good:
        first = f"; the first row: {bad[0]['where']}: {bad[0]['reason']}" if bad else ""
        raise UserError(
            f"recipe field knowledge.corpus: no row of the corpus can be used ({len(bad)} are bad{first})."
        )
    return everything.take(good), failures


def build_knowledge_base(config: KnowledgeConfig, artifact: Artifact) -> Manifest:
    """Make the knowledge base in ``artifact``; unfinished work of an earlier attempt is used."""
    from transformers import AutoConfig

    model = resolve_model(config.embedder)
    dimensions = int(AutoConfig.from_pretrained(model.path, local_files_only=True).hidden_size)
    passages, failures = read_corpus(config.corpus)

    def embed(rows: ray.data.Dataset) -> ray.data.Dataset:
        return rows.map_batches(
            Embedder,
            fn_constructor_args=(model.path, config.embedder_dtype, config.embedder_batch, 1),
            batch_format="pyarrow",
            batch_size=512,
            compute=ray.data.ActorPoolStrategy(size=config.workers),
            num_cpus=1,
            num_gpus=config.gpus_per_worker,
        )

    # Sorted by length, a batch pads little; rows are put in id order again before the commit.
    by_length = passages.append_column(
        "characters", pa.array([len(text) for text in passages["text"].to_pylist()], pa.int32())
    ).sort_by("characters")
    rows = map_resumable(
        by_length.drop_columns(["characters"]),
        embed,
        artifact=artifact,
        schema=embedded(dimensions),
        id_column="passage_id",
        label="knowledge",
        block_rows=512,
    )
    version = write_table(rows, posixpath.join(artifact.path), config)
    artifact.write_table("failures.parquet", failures)
    return artifact.seal(
        rows={TABLE: rows.num_rows, "failures": failures.num_rows},
        counts={"knowledge_base_version": version, "dimensions": dimensions},
        models={model.ref: model.revision},
    )


def write_table(rows: pa.Table, folder: str, config: KnowledgeConfig) -> int:
    """One commit of all rows, then the indexes; returns the LanceDB version.

    Raises UserError when the table does not hold exactly these ids or an index left rows out.
    """
    db = lancedb.connect(folder)
    table = db.create_table(TABLE, rows, mode="overwrite")
    found = (
        table.search().select(["passage_id"]).limit(rows.num_rows + 1).to_arrow()["passage_id"].to_pylist()
    )
    if sorted(found) != sorted(rows["passage_id"].to_pylist()):
        raise UserError(
            f"knowledge base {folder}: {len(found)} of {rows.num_rows} passages were written; "
            "run the same command again."
        )
    table.create_index("content", config=FTS(stem=config.stem, remove_stop_words=config.remove_stop_words))
    table.create_index("passage_id", config=BTree())
    if rows.num_rows >= 256:  # LanceDB trains no index on fewer rows; the search is exact then
        partitions = max(1, rows.num_rows // config.vector_partition_rows)
        table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=partitions))
    table.optimize()
    for index in table.list_indices():
        stats = table.index_stats(index.name)
        if stats is None or stats.num_unindexed_rows:
            raise UserError(
                f"knowledge base {folder}: index {index.name} leaves rows out; delete the folder and run again."
            )
    return int(table.version)
