"""What a reranker's training needs to go on exactly where it was, and the reranker that it ends with.

Nothing random is kept: the order of rationales, the candidates that a step draws and its dropout follow from the seed.
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

from kard_ray.reranker.config import RERANKER_FOLDER
from kard_ray.reranker.model import Reranker
from kard_ray.training.optimizer import MasterAdamW

CURVE_FILE = "curve.parquet"
EVALUATIONS_FILE = "evaluations.json"
_STATE = "training_state.pt"

# One row per optimizer step, without gaps, however often the training was interrupted.
CURVE = pa.schema(
    [
        pa.field("step", pa.int32()),  # from 1
        pa.field("loss", pa.float64()),  # nats per rationale, at the step's temperatures
        pa.field("learning_rate", pa.float64()),
        pa.field("gradient_norm", pa.float64()),  # before clipping
        pa.field("rationale_temperature", pa.float64()),
        pa.field("question_temperature", pa.float64()),
        pa.field(
            "tokens_per_second", pa.float64()
        ),  # of questions and passages, without padding, of all workers
    ]
)


@dataclass
class Progress:
    """How far a training is; the same on every worker."""

    step: int = 0  # optimizer steps done
    curve: list[dict[str, Any]] = field(default_factory=list)  # rows of CURVE, one for each step done
    evaluations: list[dict[str, float]] = field(
        default_factory=list
    )  # METRICS with epoch and step, from epoch 0


def restore(optimizer: MasterAdamW) -> Progress:
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
    return Progress(step=state["step"], curve=curve, evaluations=evaluations)


@contextmanager
def checkpoint_of(
    progress: Progress, optimizer: MasterAdamW, *, rank: int, finished: Reranker | None = None
) -> Iterator[ray.train.Checkpoint | None]:
    """A checkpoint on worker 0: to go on from, or with the ``finished`` reranker instead of the optimizer."""
    if rank != 0:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        state = {} if finished is not None else optimizer.state_dict()
        torch.save({"step": progress.step, "optimizer": state}, os.path.join(folder, _STATE))
        curve = pa.Table.from_pylist(progress.curve, schema=CURVE)
        pq.write_table(curve, os.path.join(folder, CURVE_FILE), compression="zstd")
        with open(os.path.join(folder, EVALUATIONS_FILE), "w", encoding="utf-8") as sink:
            json.dump(progress.evaluations, sink)
        if finished is not None:
            finished.save(os.path.join(folder, RERANKER_FOLDER))
        yield ray.train.Checkpoint.from_directory(folder)
