"""What a training leaves behind in a cluster that goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError
from ray.train import RunConfig, TrainingFailedError

from kard_ray.training.trainer import Trainer, scaling

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(180)]


def kill_the_controller(_: dict[str, Any]) -> None:
    """As the kernel does for want of memory; all processes of Ray's node are the raylet's children."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            name = (folder / "cmdline").read_text()
        except OSError:
            continue  # it has ended meanwhile
        if parent == os.getppid() and name.startswith("ray::TrainController.run"):
            os.kill(int(folder.name), signal.SIGKILL)
    time.sleep(60)


def test_a_training_whose_controller_dies_gives_its_cpus_back(tmp_path: Path) -> None:
    """Ray alone would keep the placement group until the driver ends."""
    before = ray.available_resources()["CPU"]
    trainer = Trainer(
        kill_the_controller,
        train_loop_config={},
        scaling_config=scaling(1, cpus=1, gpus=0),
        run_config=RunConfig(name="train", storage_path=str(tmp_path)),
    )
    with pytest.raises((TrainingFailedError, RayError)):
        trainer.fit()
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < before:
        assert time.monotonic() < deadline, "a CPU is still reserved"
        time.sleep(0.2)
