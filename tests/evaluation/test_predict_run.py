"""Whole predictions on a local Ray, with a random T5: transformers answers, so that no vLLM engine has to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation import predict as predicting
from kard_ray.evaluation.predict import (
    PREDICTIONS,
    SEARCHES_FILE,
    SEARCHES_TABLE,
    Prediction,
    PredictionConfig,
    predict,
)
from kard_ray.evaluation.searching import KnowledgeSource
from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory
from kard_ray.runtime.engine import EngineConfig, SamplingConfig
from tests.knowledge.rows import write_base

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

QUESTIONS = [
    Question(question_id=f"q{n}", split="test", question=f"Which {n}?", options=("yes", "no"), answer=n % 2)
    for n in range(5)
]
ENGINE = EngineConfig(dtype="float32", device="cpu", batch_rows=3)


def prediction(folder: Path, model: Path, config: dict[str, Any], **fields: Any) -> Prediction:
    run = RunDirectory(str(folder))
    sampling = {"max_tokens": 6} | config.pop("sampling", {})
    return Prediction(
        artifact=run.artifact(ArtifactSpec(stage="predict/std_cot", version=1, config=config, inputs={})),
        questions=QUESTIONS,
        student_path=str(model),
        config=PredictionConfig(engine=ENGINE, sampling=SamplingConfig(**sampling), **config),
        form="text",
        **({"sources": ["none"]} | fields),
    )


def test_scored_options_leave_no_answer_unread(t5_folder: Path, tmp_path: Path) -> None:
    one = prediction(tmp_path, t5_folder, {"answer": "options"})
    manifest = predict(one)
    assert manifest.rows == {"predictions": 5}
    assert manifest.counts["unparsable"] == manifest.counts["errors"] == 0
    table = one.artifact.read_table("predictions.parquet")
    assert manifest.counts["cut"] == sum(
        row["calls"][0]["generated_tokens"] == [6] for row in table.to_pylist()
    )
    assert table.schema.equals(PREDICTIONS)
    for row in table.to_pylist():
        best = max(row["option_log_probs"])
        assert row["prediction"] == row["option_log_probs"].index(best)
        assert 0.5 <= row["confidence"] <= 1
        assert row["generated_text"].endswith(f"So the answer is {row['prediction_text']}.")
        assert len(row["calls"]) == 2


def test_samples_vote_in_two_passes_and_passages_are_found_in_two_rounds(
    t5_folder: Path, tmp_path: Path
) -> None:
    write_base(tmp_path / "knowledge", [[(f"p{n}", "T", f"Which {n} is it.") for n in range(5)]])
    one = prediction(
        tmp_path / "run",
        t5_folder,
        {"votes": 3, "sampling": {"temperature": 1.0}},
        sources=["none", "bm25", "bm25:2"],
        knowledge=KnowledgeSource(str(tmp_path / "knowledge"), None, RetrievalConfig()),
        passages=1,
        cues=("Rationale:", "Answer:"),
    )
    manifest = predict(one)
    assert manifest.rows == {"predictions": 15, "searches": 15, "samples": 45}
    assert manifest.counts["errors"] == 0
    assert (manifest.counts["votes"], manifest.counts["cues"]) == (3, ["Rationale:", "Answer:"])
    rows = {row["prediction_id"]: row for row in one.artifact.read_table("predictions.parquet").to_pylist()}
    for n in range(5):
        assert rows[f"bm25/q{n}"]["passage_ids"] == [f"p{n}"]
        assert rows[f"none/q{n}"]["passage_ids"] == []
        drawn = [len(call["generated_tokens"]) for call in rows[f"none/q{n}"]["calls"]]
        assert drawn[0] == 3
        assert sum(drawn) == 6
        again = rows[f"bm25:2/q{n}"]
        assert again["passage_ids"] == [f"p{n}"]
        led, *answered = [len(call["generated_tokens"]) for call in again["calls"]]
        assert (led, sum(answered)) == (1, 6)
    searches = one.artifact.read_table(SEARCHES_FILE)
    assert searches.schema.equals(SEARCHES_TABLE)
    by_round = {(row["prediction_id"], row["round"]): row["query"] for row in searches.to_pylist()}
    assert by_round["bm25/q0", 1] == by_round["bm25:2/q0", 1] == "Which 0? yes no"
    assert by_round["bm25:2/q0", 2].startswith("Which 0?")
    kept = one.artifact.read_table("samples.parquet")
    assert len(set(kept["generated_text"].to_pylist())) > 10


def test_a_prediction_whose_rows_are_finished_starts_no_engine(
    t5_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prediction(tmp_path, t5_folder, {})
    todo = one.unfinished()
    predicting._write([one], [one.manner()], one.student_path, "predict")
    assert (todo.num_rows, one.unfinished().num_rows) == (5, 0)

    def refuse(**_: object) -> None:
        raise AssertionError("an engine was started")

    monkeypatch.setattr(predicting, "dialogues", refuse)
    assert predict(one).rows == {"predictions": 5}
