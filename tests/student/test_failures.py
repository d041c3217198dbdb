"""What a user is told when a training fails; the errors are raised in a worker of a real Ray Train run."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from kard_ray.runtime.errors import UserError
from kard_ray.student.config import StudentConfig
from kard_ray.student.failures import why_training_failed

CONFIG = StudentConfig(max_failures=0, micro_batch_tokens=4096)


def too_large_a_tensor() -> None:
    torch.empty(1 << 60)


def too_large_an_object() -> None:
    bytearray(1 << 62)


def a_full_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def the_kernel_kills() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def a_mistake_of_the_user() -> None:
    raise UserError("field student.model: no such model; name another one.")


def a_mistake_of_the_program() -> None:
    raise KeyError("stage")


def failure_of(what: Callable[[], None], folder: Path) -> TrainingFailedError:
    def loop(_: dict[str, Any]) -> None:
        what()

    trainer = TorchTrainer(
        loop,
        train_loop_config={},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(
            name="train", storage_path=str(folder), failure_config=FailureConfig(max_failures=0)
        ),
    )
    with pytest.raises(TrainingFailedError) as raised:
        trainer.fit()
    return raised.value


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("what", [too_large_a_tensor, too_large_an_object, a_full_gpu])
def test_a_worker_without_memory_names_the_fields_that_need_less(
    what: Callable[[], None], tmp_path: Path
) -> None:
    told = why_training_failed(failure_of(what, tmp_path), CONFIG)
    assert told is not None
    assert told.startswith(
        "worker 0 ran out of memory; lower student.micro_batch_tokens (now 4096), set student."
    )
    assert "student.gradient_checkpointing" in told
    assert "student.lora_rank" in told
    assert "\n" not in told


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_the_kernel_killed_is_explained_too(tmp_path: Path) -> None:
    told = why_training_failed(failure_of(the_kernel_kills, tmp_path), CONFIG)
    assert told is not None
    # Ray Train does not say whose error it is when a worker dies while the group starts.
    assert re.match(
        "(worker 0|a worker) died without an error of its own, mostly because the machine had no", told
    )
    assert "lower student.micro_batch_tokens (now 4096)" in told
    assert "student.max_failures" in told


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_sentence_from_a_worker_arrives_as_it_is_and_a_mistake_of_ours_is_not_hidden(
    tmp_path: Path,
) -> None:
    told = why_training_failed(failure_of(a_mistake_of_the_user, tmp_path / "user"), CONFIG)
    assert told == "field student.model: no such model; name another one."
    assert why_training_failed(failure_of(a_mistake_of_the_program, tmp_path / "program"), CONFIG) is None


@pytest.mark.parametrize(
    ("settings", "named", "not_named"),
    [
        ({}, {"gradient_checkpointing", "lora_rank"}, {"sharding", "workers"}),
        (
            {"gradient_checkpointing": True, "lora_rank": 4},
            {"micro_batch_tokens"},
            {"gradient_checkpointing"},
        ),
        ({"workers": 2}, {"sharding", "workers"}, set()),
        ({"workers": 2, "sharding": "fsdp"}, {"workers"}, {"sharding"}),
    ],
)
def test_only_what_is_left_to_change_is_named(
    settings: dict[str, Any], named: set[str], not_named: set[str]
) -> None:
    told = why_training_failed(MemoryError(), StudentConfig(**settings))
    assert told is not None
    assert all(f"student.{name}" in told for name in named)
    assert not any(f"student.{name}" in told for name in not_named)


def test_another_error_is_not_explained() -> None:
    assert why_training_failed(ValueError("shapes differ"), CONFIG) is None
