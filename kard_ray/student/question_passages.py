"""The passages that training questions find themselves: what knowledge-augmented fine-tuning reads.

They are searched for as at test: by BM25, with the query that prediction asks with. Nothing of the answer or of a
rationale is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from kard_ray.benchmarks.question import Question
from kard_ray.knowledge.retrieval import PASSAGE_LIST, RetrievalConfig, retrieve_for
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.parts import map_resumable

VERSION = 1

QUESTION_PASSAGES = pa.schema([pa.field("question_id", pa.string()), pa.field("passages", PASSAGE_LIST)])


def search_query(question: Question, *, with_options: bool) -> str:
    """What is searched for, in training and at test: the question, and its options behind it if asked for."""
    return " ".join([question.question, *(question.options if with_options else ())])


def find_question_passages(
    questions: Sequence[Question],
    folder: str,
    artifact: Artifact,
    *,
    k: int,
    with_options: bool,
    retrieval: RetrievalConfig,
    version: int | None,
) -> Manifest:
    """Retrieve ``k`` passages for every question; writes schema QUESTION_PASSAGES.

    ``version`` is that of the knowledge base in ``folder``; None is the newest.
    """
    asked = pa.table(
        {
            "question_id": pa.array([q.question_id for q in questions], pa.string()),
            "query": pa.array([search_query(q, with_options=with_options) for q in questions], pa.string()),
        }
    )
    found = map_resumable(
        asked,
        lambda rows: retrieve_for(
            rows, folder=folder, k=k, query_column="query", config=retrieval, version=version
        ),
        artifact=artifact,
        schema=QUESTION_PASSAGES,
        id_column="question_id",
        label="question_passages",
    )
    artifact.write_table("question_passages.parquet", found)
    empty = pc.sum(pc.equal(pc.list_value_length(found["passages"]), 0)).as_py() or 0
    return artifact.seal(
        rows={"question_passages": found.num_rows}, counts={"queries_without_passage": int(empty)}
    )
