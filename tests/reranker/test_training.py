"""What is learned, and that workers, kills and micro-batches change nothing of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from kard_ray.reranker.candidate_sets import both_sides
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.loss import kl_to_retriever
from kard_ray.reranker.measuring import measure
from kard_ray.reranker.model import load_reranker
from kard_ray.reranker.train import train_reranker
from kard_ray.reranker.training import CURVE
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from tests.reranker.training_cases import artifact_of, candidates_of, reranker, tables
from tests.training.faults import a_worker_dies, registered_step

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(600)]

# So few and small steps that sums in another order stay small differences.
FEW: dict[str, Any] = {"epochs": 6, "learning_rate": 1e-3}
# Enough to learn it well: 7 or 8 of 8 held-out questions with four seeds, on one thread and on two.
LEARNS: dict[str, Any] = {"epochs": 40, "candidates_per_step": 8}


def curve(artifact: Artifact) -> list[dict[str, Any]]:
    table = pq.read_table(artifact.at("curve.parquet"))
    assert table.schema == CURVE
    return table.to_pylist()


def weights(artifact: Artifact) -> dict[str, torch.Tensor]:
    folder = Path(artifact.at("reranker"))
    return load_file(folder / "encoder" / "model.safetensors") | load_file(folder / "head.safetensors")


def assert_same_training(artifact: Artifact, other: Artifact) -> None:
    mine, theirs = curve(artifact), curve(other)
    assert [row["step"] for row in mine] == list(range(1, len(theirs) + 1))  # none twice, none missing
    for row, expected in zip(mine, theirs, strict=True):
        for name in ("loss", "learning_rate", "rationale_temperature", "question_temperature"):
            assert row[name] == pytest.approx(expected[name], abs=1e-3), (row["step"], name)
    expected_weights = weights(other)
    for name, weight in weights(artifact).items():
        if name.endswith("key.bias"):  # softmax takes no notice of it: its gradient is rounding alone
            continue
        torch.testing.assert_close(weight, expected_weights[name], atol=2e-3, rtol=0, msg=name)
    values, others = (a.verify().counts["evaluations"] for a in (artifact, other))
    assert [found["epoch"] for found in values] == [found["epoch"] for found in others]
    assert [found["ndcg"] for found in values] == pytest.approx([found["ndcg"] for found in others], abs=0.02)


@pytest.fixture(scope="module")
def undisturbed(
    local_ray: None, bert_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, Manifest]:
    return reranker(tmp_path_factory.mktemp("undisturbed"), bert_folder, **FEW)


def test_what_stands_in_neithers_words_is_learned_and_told_epoch_by_epoch(
    bert_folder: Path, tmp_path: Path
) -> None:
    artifact, manifest = reranker(tmp_path, bert_folder, **LEARNS)
    found = manifest.counts["evaluations"]
    assert [values["epoch"] for values in found] == list(range(LEARNS["epochs"] + 1))
    assert found[-1]["hits@1"] >= 0.75  # one of eight by chance
    assert found[-1]["hits@1"] > max(found[0]["hits@1"], manifest.counts["first_stage"]["hits@1"])
    assert found[-1]["loss"] < found[0]["loss"] / 2
    rows = curve(artifact)
    assert manifest.counts["steps"] == len(rows) == found[-1]["step"]
    assert all(row["gradient_norm"] > 0 and row["tokens_per_second"] > 0 for row in rows)
    taus = [row["question_temperature"] for row in rows]
    assert taus == sorted(taus, reverse=True)
    assert min(taus) > 0
    assert manifest.rows == {"rationales": 40, "held_out": 8}
    json.dumps(manifest.counts)

    # What is saved is what was measured.
    tables = (
        pq.read_table(candidates_of(tmp_path).at(name)) for name in ("candidates.parquet", "passages.parquet")
    )
    _, held_out = both_sides(*tables)
    loaded = load_reranker(artifact.at("reranker"))
    again = measure(loaded, held_out, partial(kl_to_retriever, tau_q=1.0, tau_p=0.2), batch_tokens=4096)
    assert again == pytest.approx({name: found[-1][name] for name in again}, abs=1e-3)


def test_two_workers_and_small_forward_passes_learn_the_same_also_after_one_was_killed(
    undisturbed: tuple[Artifact, Manifest], bert_folder: Path, tmp_path: Path
) -> None:
    artifact = artifact_of(tmp_path)
    with a_worker_dies(lambda: registered_step(artifact) >= 10) as killed:
        _, manifest = reranker(
            tmp_path, bert_folder, **FEW, workers=2, micro_batch_tokens=60, checkpoint_seconds=0, max_failures=1
        )  # fmt: skip
    assert killed
    assert 0 < manifest.counts["resumed_at_step"] < manifest.counts["steps"]
    assert_same_training(artifact, undisturbed[0])


def test_the_next_call_goes_on_where_a_training_has_ended(
    undisturbed: tuple[Artifact, Manifest], bert_folder: Path, tmp_path: Path
) -> None:
    artifact = artifact_of(tmp_path)
    with (
        a_worker_dies(lambda: registered_step(artifact) >= 10) as killed,
        pytest.raises(UserError, match="died without an error of its own"),
    ):
        reranker(tmp_path, bert_folder, **FEW, checkpoint_seconds=0)
    assert killed
    assert not artifact.finished
    _, manifest = reranker(tmp_path, bert_folder, **FEW)
    assert 10 <= manifest.counts["resumed_at_step"] < manifest.counts["steps"]
    assert_same_training(artifact, undisturbed[0])


def test_the_other_architectures_and_losses_learn_too(bert_folder: Path, tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [
        {"architecture": "cross_encoder", "loss": "cross_entropy", "epochs": 16, "annealing": False},
        {
            "architecture": "bi_encoder",
            "lora_rank": 4,
            "precision": "bf16",
            "dimensions": 16,
            "dropout": 0.05,
            "epochs": 16,
        },
    ]
    for at, of in enumerate(settings):
        artifact, manifest = reranker(tmp_path / str(at), bert_folder, **of)
        found = manifest.counts["evaluations"]
        assert found[-1]["loss"] < found[0]["loss"]
        assert load_reranker(artifact.at("reranker")).architecture == of["architecture"]


def test_candidates_without_a_choice_and_a_model_that_is_no_encoder_are_told_before_workers_start(
    bert_folder: Path, llama_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="expected a BERT-like encoder"):
        reranker(tmp_path, llama_folder)
    run = RunDirectory(str(tmp_path / "none"))
    none = run.artifact(ArtifactSpec(stage="candidates", version=1, config={}))
    candidates, passages = tables()
    none.write_table("candidates.parquet", candidates.slice(0, 0))
    none.write_table("passages.parquet", passages)
    none.seal(rows={})
    with pytest.raises(UserError, match="none of the train candidate sets"):
        train_reranker(
            RerankerConfig(model=str(bert_folder), max_passage_tokens=64), none, artifact_of(tmp_path)
        )
    assert candidates_of(tmp_path).finished
