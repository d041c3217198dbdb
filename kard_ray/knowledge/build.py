"""Build the knowledge base: ingest on Ray, one commit by the driver, indexes, a tagged version.

A killed worker or driver loses the units in flight, no more: the same command goes on from finished shards and
fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.fragments import Written, commit_first
from kard_ray.knowledge.indexes import make_bm25_index, make_indexes
from kard_ray.knowledge.ingest import Ingested, ingest
from kard_ray.knowledge.passage import TABLE
from kard_ray.knowledge.reading import FAILURES
from kard_ray.knowledge.settings import settings_of, write_settings
from kard_ray.knowledge.versions import Version, forget_versions, record_version, remove_untagged
from kard_ray.runtime.artifacts import PARTS, Artifact, Manifest
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import ResolvedModel, resolve_model

VERSION = 2


def build_knowledge_base(config: KnowledgeConfig, artifact: Artifact) -> Manifest:
    """Make the knowledge base in ``artifact``; unfinished work of an earlier attempt is used."""
    model = resolve_model(config.embedder) if config.embedder is not None else None
    made = ingest(config, model, work_url=artifact.url(PARTS), folder=artifact.path, label="knowledge")
    write_settings(artifact.path, settings_of(config, model))
    version = finish_build(artifact.path, config, made.written)
    failures = write_tables(artifact, made)
    return artifact.seal(
        rows={TABLE: version.passages, "failures": failures},
        counts=made.counts() | version_counts(version) | {"dimensions": made.written[0].dimensions},
        models=model_revisions(model),
        rewritten=[f"{TABLE}.lance/_versions/latest_version_hint.json"],  # by every later version
    )


def finish_build(folder: str, config: KnowledgeConfig, written: Sequence[Written]) -> Version:
    """Commit the fragments, make the indexes, tag the version; raises UserError when the table lacks a passage."""
    passages = sum(unit.rows for unit in written)
    forget_versions(folder)
    commit_first(written, folder)
    number = make_indexes(folder, config)
    make_bm25_index(folder, number, config, workers=config.workers)
    version = record_version(
        folder,
        number,
        "build",
        added=passages,
        embedded=passages if config.embedder is not None else 0,
    )
    if version.passages != passages:
        raise UserError(
            f"knowledge base {folder}: {passages} passages were committed and the table has {version.passages}; "
            "delete the folder and run again."
        )
    remove_untagged(folder, older_than=timedelta(0), orphans=True)
    return version


def version_counts(version: Version) -> dict[str, Any]:
    """What manifests tell of the version they use."""
    return {"knowledge_base_version": version.number, "knowledge_base_tag": version.tag}


def model_revisions(model: ResolvedModel | None) -> dict[str, str]:
    """For the manifest."""
    return {model.ref: model.revision} if model is not None else {}


def write_tables(artifact: Artifact, made: Ingested) -> int:
    """``failures.parquet`` and ``duplicates.parquet``; returns the number of failures."""
    rows = 0
    fs = artifact.run.fs
    fs.makedirs(artifact.path, exist_ok=True)
    with fs.open(artifact.at("failures.parquet"), "wb") as sink, pq.ParquetWriter(sink, FAILURES) as writer:
        for table in made.failures():
            writer.write_table(table)
            rows += table.num_rows
    duplicates = made.duplicates.table
    duplicates = duplicates.filter(
        pa.array([kind != "source" for kind in duplicates["kind"].to_pylist()], pa.bool_())
    )
    artifact.write_table(
        "duplicates.parquet",
        duplicates.select(["id", "first_id", "kind"]).rename_columns(
            ["passage_id", "kept_passage_id", "kind"]
        ),
    )
    return rows
