"""What the loop computes: a plain loop's losses, whatever saves memory, and the best student where that is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kard_ray.runtime.artifacts import Artifact
from kard_ray.student.config import StudentConfig
from kard_ray.training.held_out import is_held_out
from kard_ray.training.order import plan_batches
from tests.student.training_cases import student

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(600)]

STEPS = 50
SETTINGS: dict[str, Any] = {"epochs": STEPS / 3, "batch_size": 4}  # 9 rows: 3 steps an epoch


def losses(artifact: Artifact) -> list[float]:
    return pq.read_table(artifact.at("curve.parquet"))["loss"].to_pylist()


def plain_losses(model_folder: Path, artifact: Artifact) -> list[float]:
    """A loop that knows nothing of this project but its order of rows: one row at a time, transformers' own loss."""
    table = pq.read_table(artifact.at("examples.parquet"))
    rows = list(zip(table["prompt_ids"].to_pylist(), table["target_ids"].to_pylist(), strict=True))
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.0)
    config = StudentConfig()
    warmup = round(STEPS * config.warmup_fraction)
    found = []
    plan = plan_batches([len(p) + len(t) for p, t in rows], batch_size=4, epochs=SETTINGS["epochs"], seed=42)
    for step, batch in enumerate(plan):
        count = sum(len(rows[row][1]) for row in batch)
        total = 0.0
        for row in batch:
            prompt, target = rows[row]
            ids, labels = torch.tensor([prompt + target]), torch.tensor([[-100] * len(prompt) + target])
            loss = model(input_ids=ids, labels=labels).loss * len(target) / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = (step + 1) / warmup if step < warmup else (STEPS - step) / (STEPS - warmup)
        optimizer.param_groups[0]["lr"] = 1e-3 * rate
        optimizer.step()
        optimizer.zero_grad()
        found.append(total)
    return found


@pytest.fixture(scope="module")
def trained(local_ray: None, llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return student(tmp_path_factory.mktemp("trained"), llama_folder, **SETTINGS)[0]


def test_every_step_has_the_loss_of_a_plain_loop(trained: Artifact, llama_folder: Path) -> None:
    found = losses(trained)
    assert len(found) == STEPS
    assert found[-1] < found[0] - 1
    assert found == pytest.approx(plain_losses(llama_folder, trained), abs=1e-3)


@pytest.mark.parametrize(
    "settings", [{"packing": False}, {"gradient_checkpointing": True, "micro_batch_tokens": 1}]
)
def test_what_saves_memory_or_time_changes_no_loss(
    trained: Artifact, llama_folder: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    other, _ = student(tmp_path, llama_folder, **SETTINGS, **settings)
    assert losses(other) == pytest.approx(losses(trained), abs=1e-4)


def test_lora_learns_with_divided_weights_in_bfloat16(llama_folder: Path, tmp_path: Path) -> None:
    settings = {"lora_rank": 4, "learning_rate": 1e-2, "precision": "bf16", "workers": 2, "sharding": "fsdp"}
    artifact, manifest = student(tmp_path, llama_folder, epochs=20, **settings)
    assert losses(artifact)[-1] < losses(artifact)[0] - 0.5
    assert "adapter/adapter_model.safetensors" in manifest.files
    assert AutoModelForCausalLM.from_pretrained(artifact.at("model")).dtype == torch.bfloat16


@pytest.mark.parametrize("model", ["llama_folder", "t5_folder"])
def test_the_student_is_the_checkpoint_that_answers_most(
    request: pytest.FixtureRequest, tmp_path: Path, model: str
) -> None:
    artifact, manifest = student(
        tmp_path, request.getfixturevalue(model), "finetune",
        epochs=60, learning_rate=5e-3, held_out=0.3, best="accuracy", evaluations=3, workers=2,
        tracking=("tensorboard", "mlflow"),
    )  # fmt: skip
    held = manifest.counts["held_out"]
    assert held["measure"] == "accuracy"
    values = dict(held["values"])
    assert len(values) == 3
    assert set(values.values()) <= {
        at / manifest.rows["held_out"] for at in range(manifest.rows["held_out"] + 1)
    }
    best = max(values.values())
    assert manifest.counts["student_step"] == min(step for step, value in values.items() if value == best)
    assert best > 0
    names = set(pq.read_table(artifact.at("examples.parquet"))["question_id"].to_pylist())
    assert all(is_held_out(f"q{at}", 0.3, 42) != (f"q{at}" in names) for at in range(9))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("kard-ray").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["best"] == "accuracy"
    shown = sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, "held_out_accuracy"))
    assert shown == sorted(values.items())
    steps = sorted(m.step for m in client.get_metric_history(run.info.run_id, "loss"))
    assert steps == list(range(1, manifest.counts["steps"] + 1))


def test_the_student_of_the_best_step_is_the_one_that_is_written(llama_folder: Path, tmp_path: Path) -> None:
    # So long that it learns its few rows by heart, and the last student is not the best one.
    settings = {"epochs": 120, "learning_rate": 5e-3, "held_out": 0.3, "evaluations": 6}
    best, manifest = student(tmp_path / "best", llama_folder, **settings, best="loss")
    last, _ = student(tmp_path / "last", llama_folder, **settings)
    values = dict(manifest.counts["held_out"]["values"])
    step = manifest.counts["student_step"]
    assert values[step] == min(values.values())
    assert step < manifest.counts["steps"]
    for artifact, expected in ((best, values[step]), (last, values[manifest.counts["steps"]])):
        written = AutoModelForCausalLM.from_pretrained(artifact.at("model"), dtype=torch.float32)
        total = count = 0.0
        for row in pq.read_table(artifact.at("held_out.parquet")).to_pylist():
            ids = torch.tensor([row["prompt_ids"] + row["target_ids"]])
            labels = torch.tensor([[-100] * len(row["prompt_ids"]) + row["target_ids"]])
            with torch.no_grad():
                total += written(input_ids=ids, labels=labels).loss.item() * len(row["target_ids"])
            count += len(row["target_ids"])
        assert total / count == pytest.approx(expected, abs=1e-4)


def test_an_encoder_decoder_is_trained_with_divided_weights(t5_folder: Path, tmp_path: Path) -> None:
    artifact, _ = student(tmp_path, t5_folder, epochs=20, learning_rate=1e-2, workers=2, sharding="fsdp")
    assert losses(artifact)[-1] < losses(artifact)[0] - 1
    AutoModelForSeq2SeqLM.from_pretrained(artifact.at("model"))
