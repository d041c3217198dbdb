"""The last checkpoint of a training: the student that it ends with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.train
import torch

from kard_ray.student.config import ADAPTER_FOLDER, MODEL_FOLDER, StudentConfig
from kard_ray.student.loading import load_student
from kard_ray.student.tracking import CURVE
from kard_ray.training.checkpointing import Progress, checkpoint_folder
from kard_ray.training.optimizer import MasterAdamW


@contextmanager
def finished(
    progress: Progress,
    model: Any,
    optimizer: MasterAdamW,
    tokenizer: Any,
    *,
    model_path: str,
    config: StudentConfig,
    divided: bool,
    rank: int,
) -> Iterator[ray.train.Checkpoint | None]:
    """The last checkpoint, on worker 0, with the student: its best weights if some are kept, else the last ones."""
    weights = progress.best_weights
    if divided and config.best == "last":
        weights = optimizer.weights()
    with checkpoint_folder(progress, curve=CURVE, rank=rank) as folder:
        if folder is None:
            yield None
            return
        if divided or config.quantization != "none":
            # The pieces of a divided model cannot be written, and 4 bits cannot be merged exactly: load it whole.
            weights = weights if weights is not None else optimizer.weights()
            plain = config.model_copy(update={"quantization": "none", "gradient_checkpointing": False})
            model = load_student(model_path, plain)
        if weights is not None:
            _set(model, weights)
        target = os.path.join(folder, MODEL_FOLDER)
        if hasattr(model, "merge_and_unload"):
            model.save_pretrained(os.path.join(folder, ADAPTER_FOLDER))
            # A plain model: prediction and serving need not know about LoRA.
            model = model.merge_and_unload()
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        yield ray.train.Checkpoint.from_directory(folder)


@torch.no_grad()
def _set(model: Any, weights: list[torch.Tensor]) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter, weight in zip(trained, weights, strict=True):
        parameter.copy_(weight)
