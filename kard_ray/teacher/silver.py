"""Silver passages: the best passages for a *rationale*, the heart of KARD (section 3.1).

The query is the rationale with its closing "So the answer is …", as in the released code. Training questions use
every kept rationale; a test question uses one (the first kept, else the first), which gives the upper bound that
the report calls "silver": what the student could do if retrieval knew the rationale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from kard_ray.knowledge.retrieval import PASSAGE_LIST, Mode, RetrievalConfig, retrieve_for
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.parts import map_resumable

VERSION = 1

SILVER = pa.schema(
    [
        pa.field("rationale_id", pa.string()),
        pa.field("question_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("passages", PASSAGE_LIST),
    ]
)


class SilverConfig(Frozen):
    """How many silver passages are stored per rationale."""

    passages: int = Field(10, ge=1, le=1000)  # k stored; students take the first few
    # What is searched for. KARD: the rationale. A weak teacher leaves facts out of it that the question names.
    query: Literal["rationale", "question_and_rationale"] = "rationale"
    mode: Mode = "bm25"  # KARD: BM25


def queries(rationales: pa.Table, test_split: str) -> pa.Table:
    """The rationales that become queries: all kept ones, and for each question of ``test_split`` one."""
    is_test = pc.equal(rationales["split"], test_split)
    training = rationales.filter(pc.and_(rationales["kept"], pc.invert(is_test)))
    chosen, seen = [], set()
    tests = rationales.filter(is_test).sort_by(
        [("question_id", "ascending"), ("kept", "descending"), ("sample", "ascending")]
    )
    for at, question_id in enumerate(tests["question_id"].to_pylist()):
        if question_id not in seen:
            seen.add(question_id)
            chosen.append(at)
    return pa.concat_tables([training, tests.take(pa.array(chosen, pa.int64()))]).select(
        ["rationale_id", "question_id", "split", "rationale"]
    )


def with_questions(rows: pa.Table, questions: Mapping[str, str]) -> pa.Table:
    """:func:`queries` with the question's text before each rationale; ``questions`` are texts by question id."""
    joined = [f"{questions[row['question_id']]} {row['rationale']}" for row in rows.to_pylist()]
    return rows.set_column(rows.column_names.index("rationale"), "rationale", pa.array(joined, pa.string()))


def find_silver_passages(
    rationales: pa.Table,
    questions: Mapping[str, str],
    folder: str,
    config: SilverConfig,
    artifact: Artifact,
    *,
    test_split: str,
    retrieval: RetrievalConfig,
    version: int | None,
) -> Manifest:
    """Retrieve for every query of :func:`queries`; writes schema SILVER. ``questions`` are texts by question id.

    ``version`` is that of the knowledge base in ``folder``; None is the newest.
    """
    asked = queries(rationales, test_split)
    if config.query == "question_and_rationale":
        asked = with_questions(asked, questions)
    found = map_resumable(
        asked,
        lambda rows: retrieve_for(
            rows,
            folder=folder,
            k=config.passages,
            query_column="rationale",
            mode=config.mode,
            config=retrieval,
            version=version,
        ),
        artifact=artifact,
        schema=SILVER,
        id_column="rationale_id",
        label="silver",
    )
    artifact.write_table("silver.parquet", found)
    empty = pc.sum(pc.equal(pc.list_value_length(found["passages"]), 0)).as_py() or 0
    return artifact.seal(rows={"silver": found.num_rows}, counts={"queries_without_passage": int(empty)})
