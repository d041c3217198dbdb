"""What a training needs to go on exactly where it was, and the student that it ends with.

Nothing random is kept: the order of rows follows from the seed, and the dropout of a step from seed, step and worker.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.train
import torch

from kard_ray.student.config import ADAPTER_FOLDER, EVALUATIONS_FILE, MODEL_FOLDER, StudentConfig
from kard_ray.student.loading import load_student
from kard_ray.student.tracking import CURVE, CURVE_FILE
from kard_ray.training.optimizer import MasterAdamW

_STATE = "training_state.pt"


@dataclass
class Progress:
    """How far a training is; on every worker the same, but for the weights, which worker 0 keeps."""

    step: int = 0  # optimizer steps done
    curve: list[dict[str, Any]] = field(default_factory=list)  # rows of CURVE, one for each step done
    evaluations: list[dict[str, float]] = field(
        default_factory=list
    )  # {"step", "value"} on held-out questions
    best_weights: list[torch.Tensor] | None = None  # of the best evaluation, where that chooses the student


def restore(optimizer: MasterAdamW, *, rank: int) -> Progress:
    """Set weights and optimizer from the last checkpoint, if there is one; returns how far it was."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return Progress()
    with checkpoint.as_directory() as folder:
        state = torch.load(os.path.join(folder, _STATE), map_location="cpu", weights_only=True)
        curve = pq.read_table(os.path.join(folder, CURVE_FILE)).to_pylist()
        with open(os.path.join(folder, EVALUATIONS_FILE), encoding="utf-8") as source:
            evaluations = json.load(source)
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    return Progress(
        step=state["step"],
        curve=curve,
        evaluations=evaluations,
        best_weights=state["best_weights"] if rank == 0 else None,
    )


@contextmanager
def unfinished(
    progress: Progress, optimizer: MasterAdamW, *, rank: int
) -> Iterator[ray.train.Checkpoint | None]:
    """A checkpoint to go on from, on worker 0; every worker must call this, since weights may be divided."""
    state = optimizer.state_dict()
    with _checkpoint(progress, state, rank=rank) as folder:
        yield None if folder is None else ray.train.Checkpoint.from_directory(folder)


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
    with _checkpoint(progress, {}, rank=rank) as folder:
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


@contextmanager
def _checkpoint(progress: Progress, optimizer: dict[str, Any], *, rank: int) -> Iterator[str | None]:
    """A folder with everything but the student, on worker 0."""
    if rank != 0:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(
            {
                "step": progress.step,
                "optimizer": optimizer,
                "best_weights": progress.best_weights if optimizer else None,
            },
            os.path.join(folder, _STATE),
        )
        pq.write_table(
            pa.Table.from_pylist(progress.curve, schema=CURVE),
            os.path.join(folder, CURVE_FILE),
            compression="zstd",
        )
        with open(os.path.join(folder, EVALUATIONS_FILE), "w", encoding="utf-8") as sink:
            json.dump(progress.evaluations, sink)
        yield folder


@torch.no_grad()
def _set(model: Any, weights: list[torch.Tensor]) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter, weight in zip(trained, weights, strict=True):
        parameter.copy_(weight)
