"""What a training needs to go on exactly where it was, whatever it trains.

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

from kard_ray.training.optimizer import MasterAdamW
from kard_ray.training.trainer import CURVE_FILE, EVALUATIONS_FILE

_STATE = "training_state.pt"


@dataclass
class Progress:
    """How far a training is; on every worker the same, but for the weights, which worker 0 keeps."""

    step: int = 0  # optimizer steps done
    curve: list[dict[str, Any]] = field(default_factory=list)  # one row for each step done
    # On held-out questions, with their step
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_weights: list[torch.Tensor] | None = None  # of the best evaluation, where that chooses what is kept


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
        best_weights=state.get("best_weights") if rank == 0 else None,
    )


@contextmanager
def unfinished(
    progress: Progress, optimizer: MasterAdamW, *, curve: pa.Schema, rank: int
) -> Iterator[ray.train.Checkpoint | None]:
    """A checkpoint to go on from, on worker 0; every worker must call this, since weights may be divided."""
    state = optimizer.state_dict()
    with checkpoint_folder(progress, curve=curve, rank=rank, optimizer=state) as folder:
        yield None if folder is None else ray.train.Checkpoint.from_directory(folder)


@contextmanager
def checkpoint_folder(
    progress: Progress, *, curve: pa.Schema, rank: int, optimizer: dict[str, Any] | None = None
) -> Iterator[str | None]:
    """A folder with what :func:`restore` reads, on worker 0.

    Without ``optimizer`` it is the last one: what was trained is put beside it, and no weights are kept for later.
    ``curve`` is the schema of the learning curve.
    """
    if rank != 0:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = progress.best_weights if optimizer else None
        torch.save(
            {"step": progress.step, "optimizer": optimizer or {}, "best_weights": weights},
            os.path.join(folder, _STATE),
        )
        pq.write_table(
            pa.Table.from_pylist(progress.curve, schema=curve),
            os.path.join(folder, CURVE_FILE),
            compression="zstd",
        )
        with open(os.path.join(folder, EVALUATIONS_FILE), "w", encoding="utf-8") as sink:
            json.dump(progress.evaluations, sink)
        yield folder
