"""Symbolic knowledge at every stage: the worker alone, and on a real local Ray."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.compression.compress import (
    COMPRESSED,
    STAGES,
    CompressingWorker,
    by_stage,
)
from kard_ray.student.compression.config import CompressionConfig
from kard_ray.student.curriculum.artifacts import write_compressed
from kard_ray.student.curriculum.config import CurriculumConfig
from kard_ray.student.curriculum.schedule import ScheduleConfig, fractions

FRACTIONS = fractions(ScheduleConfig())


def knowledge(rows: int) -> pa.Table:
    made = [
        {
            "rationale_id": f"q{number // 2:02}#{number % 2}",
            "question_id": f"q{number // 2:02}",
            "split": "train",
            "summary": f"Compare the first number with {number}; the larger one is the answer.",
            "supplement": "The population of Norway is 5,509,733. " * (number % 4),
        }
        for number in range(rows)
    ]
    return pa.Table.from_pylist(made)


def config(**changes: object) -> CompressionConfig:
    return CompressionConfig.model_validate({"kind": "self_information", "dtype": "float32"} | changes)


def compressed(folder: Path, given: pa.Table, settings: CompressionConfig) -> pa.Table:
    """What the stage writes."""
    artifact = RunDirectory(str(folder)).artifact(ArtifactSpec(stage="compression", version=1, config={}))
    write_compressed(given, CurriculumConfig(compression=settings), artifact)
    return artifact.read_table("compressed.parquet")


@pytest.fixture(scope="module")
def worker(llama_folder: Path) -> CompressingWorker:
    return CompressingWorker(config(), str(llama_folder), FRACTIONS)


def test_every_rationale_has_a_row_for_each_stage_from_all_to_nothing(worker: CompressingWorker) -> None:
    given = knowledge(6)
    written = worker(given)
    assert written.schema == STAGES
    assert written["rationale_id"].to_pylist() == given["rationale_id"].to_pylist()
    table = by_stage(written)
    assert table.schema == COMPRESSED
    assert table.num_rows == 6 * 4
    sources = {row["rationale_id"]: row for row in given.to_pylist()}
    for row in table.to_pylist():
        source = sources[row["rationale_id"]]
        assert (row["question_id"], row["split"]) == (source["question_id"], source["split"])
        assert row["asked_fraction"] == FRACTIONS[row["stage"] - 1]
        assert row["achieved_fraction"] == pytest.approx(row["tokens_after"] / row["tokens_before"])
        assert row["achieved_fraction"] == pytest.approx(row["asked_fraction"], abs=0.2)
        if row["stage"] == 1:
            assert (row["summary"], row["supplement"]) == (source["summary"], source["supplement"])
        if row["stage"] == 4:
            assert (row["summary"], row["supplement"], row["tokens_after"]) == ("", "", 0)


def test_each_of_the_two_texts_is_compressed_by_itself(worker: CompressingWorker) -> None:
    row = knowledge(4).slice(3).to_pylist()[0]
    swapped = row | {"summary": row["supplement"], "supplement": row["summary"]}
    one, other = (by_stage(worker(pa.Table.from_pylist([r]))).to_pylist() for r in (row, swapped))
    for here, there in zip(one, other, strict=True):
        assert (here["summary"], here["supplement"]) == (there["supplement"], there["summary"])
        assert here["tokens_after"] == there["tokens_after"]


def test_knowledge_without_text_keeps_what_was_asked_of_nothing(worker: CompressingWorker) -> None:
    empty = {"rationale_id": "a#0", "question_id": "a", "split": "train", "summary": None, "supplement": ""}
    schema = knowledge(1).schema
    rows = by_stage(worker(pa.Table.from_pylist([empty], schema=schema))).to_pylist()
    assert [row["achieved_fraction"] for row in rows] == list(FRACTIONS)
    assert {(row["summary"], row["supplement"], row["tokens_before"]) for row in rows} == {("", "", 0)}
    assert worker(schema.empty_table()).num_rows == 0
    assert by_stage(STAGES.empty_table()).schema == COMPRESSED


def test_no_rows_start_no_worker(llama_folder: Path, tmp_path: Path) -> None:
    found = compressed(tmp_path, knowledge(1).slice(1), config(model=str(llama_folder)))
    assert found.num_rows == 0
    assert found.schema == COMPRESSED


def test_a_rationale_that_stands_twice_is_refused_before_any_work(llama_folder: Path, tmp_path: Path) -> None:
    twice = pa.concat_tables([knowledge(3), knowledge(1)])
    with pytest.raises(UserError, match="got 4 rows with 3 rationale ids, expected one row for each"):
        compressed(tmp_path, twice, config(model=str(llama_folder)))


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_workers_side_by_side_write_what_one_worker_writes(
    llama_folder: Path, worker: CompressingWorker, tmp_path: Path
) -> None:
    given = knowledge(20)
    settings = config(model=str(llama_folder), workers=2, batch_rows=5)
    found = compressed(tmp_path, given, settings)
    assert found.equals(by_stage(worker(given)))
