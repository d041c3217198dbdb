"""A training whose worker or driver is killed: the same curve, checkpoint and student as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.student.tracking import CURVE
from tests.e2e.world import REPOSITORY, environment, ray_folder, wait_until
from tests.student.training_cases import CURRICULUM, artifact_of, student
from tests.training.faults import a_worker_dies, registered_step

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(600)]

EACH_STEP: dict[str, Any] = {"checkpoint_seconds": 0, "max_failures": 1}


def curve(artifact: Artifact) -> list[dict[str, Any]]:
    table = pq.read_table(artifact.at("curve.parquet"))
    assert table.schema == CURVE
    return table.to_pylist()


def assert_same_training(artifact: Artifact, manifest: Manifest, undisturbed: Artifact) -> None:
    """Curve, measurements, weights and TensorBoard's events; and that there was something to go on from."""
    expected = undisturbed.verify()
    assert 0 < manifest.counts["resumed_at_step"] < manifest.counts["steps"]
    mine, theirs = curve(artifact), curve(undisturbed)
    assert [row["step"] for row in mine] == list(range(1, len(theirs) + 1))  # none twice, none missing
    for row, other in zip(mine, theirs, strict=True):
        for name in ("stage", "loss", "learning_rate"):
            assert row[name] == pytest.approx(other[name], abs=1e-4), (row["step"], name)
        assert row["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-2)
    for name in ("steps", "student_step", "final_loss"):
        assert manifest.counts.get(name) == pytest.approx(expected.counts.get(name), abs=1e-4)
    assert ("held_out" in manifest.counts) == ("held_out" in expected.counts)
    for mine_at, their_at in zip(
        *(m.counts.get("held_out", {"values": []})["values"] for m in (manifest, expected)), strict=True
    ):
        assert mine_at == pytest.approx(their_at, abs=1e-4)
    weights, others = (load_file(a.at("model", "model.safetensors")) for a in (artifact, undisturbed))
    assert weights.keys() == others.keys()
    for name, weight in others.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-4, rtol=0, msg=name)
    events = EventAccumulator(artifact.at("tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [row["step"] for row in mine]


@pytest.fixture(scope="module")
def undisturbed(local_ray: None, llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return student(tmp_path_factory.mktemp("undisturbed"), llama_folder, **CURRICULUM)[0]


def test_a_curriculum_shows_its_stages_in_order_and_its_best_student_is_of_the_last_one(
    undisturbed: Artifact,
) -> None:
    manifest = undisturbed.verify()
    rows = curve(undisturbed)
    stages = [row["stage"] for row in rows]
    assert sorted(set(stages)) == [1, 2, 3]
    assert stages == sorted(stages)
    assert all(row["loss"] > 0 and row["gradient_norm"] > 0 and row["tokens_per_second"] > 0 for row in rows)
    values = manifest.counts["held_out"]["values"]
    assert len(values) == 2
    assert all(stages[step - 1] == 3 for step, _ in values)
    assert [manifest.counts["student_step"]] == [
        step for step, value in values if value == min(v for _, v in values)
    ]
    assert manifest.counts["steps"] == len(rows)
    json.dumps(manifest.counts)


def test_a_killed_worker_in_the_middle_of_a_stage_changes_nothing(
    undisturbed: Artifact, llama_folder: Path, tmp_path: Path
) -> None:
    middle = [row["step"] for row in curve(undisturbed) if row["stage"] == 2][2]
    artifact = artifact_of(tmp_path, "kard_intern")
    with a_worker_dies(lambda: registered_step(artifact) >= middle) as killed:
        _, manifest = student(tmp_path, llama_folder, **CURRICULUM, **EACH_STEP)
    assert killed
    assert_same_training(artifact, manifest, undisturbed)


def test_a_killed_driver_in_the_middle_of_a_stage_changes_nothing(
    undisturbed: Artifact, llama_folder: Path, tmp_path: Path
) -> None:
    middle = [row["step"] for row in curve(undisturbed) if row["stage"] == 2][2]
    artifact = artifact_of(tmp_path / "run", "kard_intern")
    command = [sys.executable, "-m", "tests.student.training_cases", str(tmp_path / "run"), str(llama_folder)]
    log = tmp_path / "log"
    with ray_folder() as folder, log.open("wb") as sink:
        driver = subprocess.Popen(command, cwd=REPOSITORY, env=environment(folder), stdout=sink, stderr=sink)
        try:
            wait_until(
                lambda: registered_step(artifact) >= middle or driver.poll() is not None,
                seconds=240,
                what="a checkpoint of the second stage was registered",
            )
            assert driver.poll() is None, log.read_text()[-4000:]
        finally:
            driver.kill()
            driver.wait()
    assert not artifact.finished
    _, manifest = student(tmp_path / "run", llama_folder, **CURRICULUM)
    assert manifest.counts["resumed_at_step"] >= middle
    assert_same_training(artifact, manifest, undisturbed)


def test_dropout_is_the_same_after_a_worker_was_killed(t5_folder: Path, tmp_path: Path) -> None:
    settings = {"epochs": 6, "learning_rate": 1e-2}
    whole, _ = student(tmp_path / "whole", t5_folder, **settings)
    artifact = artifact_of(tmp_path / "killed", "std_cot")
    with a_worker_dies(lambda: registered_step(artifact) >= 4) as killed:
        _, manifest = student(tmp_path / "killed", t5_folder, **settings, **EACH_STEP)
    assert killed
    assert_same_training(artifact, manifest, whole)


def test_divided_weights_give_the_same_student_also_after_a_worker_was_killed(
    llama_folder: Path, tmp_path: Path
) -> None:
    settings = {"epochs": 6, "workers": 2}
    replicated, _ = student(tmp_path / "ddp", llama_folder, **settings)
    artifact = artifact_of(tmp_path / "fsdp", "std_cot")
    with a_worker_dies(lambda: registered_step(artifact) >= 4) as killed:
        _, manifest = student(tmp_path / "fsdp", llama_folder, **settings, **EACH_STEP, sharding="fsdp")
    assert killed
    assert_same_training(artifact, manifest, replicated)
