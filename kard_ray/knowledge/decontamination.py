"""The contamination report: test questions that stand in passages or in training questions; on wish they are left out.

Leaving passages out makes a new version of the knowledge base: the one before stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import lance
import pyarrow as pa
import ray

from kard_ray.benchmarks.question import Question
from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.contamination import (
    OVERLAPS,
    ContaminationConfig,
    Overlaps,
    overlaps_of_batch,
    question_text,
)
from kard_ray.knowledge.fragments import table_uri
from kard_ray.knowledge.indexes import make_bm25_index, update_indexes
from kard_ray.knowledge.update import commit_update
from kard_ray.knowledge.versions import Version, find_version, record_version
from kard_ray.runtime.artifacts import Artifact, Manifest

VERSION = 2
_ROWS = 50_000  # passages per task
_LISTED = 100  # ids listed in the manifest; the table has all of them


def write_contamination(
    test: Sequence[Question], train: Sequence[Question], config: ContaminationConfig, *, folder: str, version: int,
    knowledge: KnowledgeConfig, artifact: Artifact,
) -> Manifest:  # fmt: skip
    """Writes ``contamination.parquet`` (schema OVERLAPS); with ``config.drop`` also a version without those passages.

    The manifest counts and lists test questions that overlap, and names the version that later stages read.
    """
    overlaps = Overlaps({q.question_id: question_text(q) for q in test}, config)
    texts = pa.table({"id": [q.question_id for q in train], "text": [question_text(q) for q in train]})
    found = pa.concat_tables(
        [passage_overlaps(folder, version, overlaps), overlaps_of_batch(texts, overlaps, "question")]
    ).sort_by([("question_id", "ascending"), ("kind", "descending"), ("id", "ascending")])
    artifact.write_table("contamination.parquet", found)
    rows = found.to_pylist()
    passages = sorted({row["id"] for row in rows if row["kind"] == "passage"})
    questions = sorted({row["id"] for row in rows if row["kind"] == "question"})
    tests = sorted({row["question_id"] for row in rows})
    read = find_version(folder, version)
    if config.drop and passages:
        read = drop_passages(folder, version, passages, knowledge)
    return artifact.seal(
        rows={"contamination": found.num_rows},
        counts={
            "test_questions": len(test),
            "too_short_to_check": len(overlaps.too_short),
            "of_common_words_alone": len(overlaps.common_alone),
            "contaminated_test_questions": len(tests),
            "overlapping_passages": len(passages),
            "overlapping_training_questions": len(questions),
            "dropped": config.drop,
            "first_contaminated_test_questions": tests[:_LISTED],
            "first_overlapping_passages": passages[:_LISTED],
            "first_overlapping_training_questions": questions[:_LISTED],
            "knowledge_base_version": read.number,
            "knowledge_base_tag": read.tag,
        },
    )


def passage_overlaps(folder: str, version: int, overlaps: Overlaps) -> pa.Table:
    """Schema OVERLAPS over all passages of a version, on Ray tasks."""
    uri = table_uri(folder)
    rows = lance.dataset(uri, version=version).count_rows()
    task = ray.remote(num_cpus=1)(overlaps_of_rows)
    shared = ray.put(overlaps)
    tables = ray.get([task.remote(uri, version, at, _ROWS, shared) for at in range(0, rows, _ROWS)])
    return pa.concat_tables([OVERLAPS.empty_table(), *tables])


def overlaps_of_rows(uri: str, version: int, offset: int, rows: int, overlaps: Overlaps) -> pa.Table:
    """Schema OVERLAPS for ``rows`` passages from ``offset`` on."""
    dataset = lance.dataset(uri, version=version)
    batches = dataset.to_batches(columns=["passage_id", "content"], offset=offset, limit=rows)
    tables = [
        overlaps_of_batch(
            pa.Table.from_batches([batch]), overlaps, "passage", id_column="passage_id", text_column="content"
        )
        for batch in batches
    ]
    return pa.concat_tables([OVERLAPS.empty_table(), *tables])


def drop_passages(folder: str, version: int, passages: Sequence[str], config: KnowledgeConfig) -> Version:
    """A new version of the knowledge base: ``version`` without ``passages``."""
    removed = commit_update(folder, version, [], passages=passages, sources=())
    number = update_indexes(folder, config)
    make_bm25_index(folder, number, config, workers=config.workers)
    return record_version(folder, number, "decontaminate", removed=removed)
