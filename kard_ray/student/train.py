"""Train one student on Ray Train; a killed run goes on from its last checkpoint."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow.compute as pc
import ray.train
from fsspec.implementations.arrow import ArrowFSWrapper
from ray._private.worker import get_dashboard_url
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.exceptions import TrainingFailedError

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.artifacts import PARTS, Artifact, Manifest
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model
from kard_ray.runtime.progress import Progress
from kard_ray.student.checks import check_requirements, check_rows
from kard_ray.student.config import ADAPTER_FOLDER, CUES, EVALUATIONS_FILE, MODEL_FOLDER, StudentConfig
from kard_ray.student.failures import why_training_failed
from kard_ray.student.held_out import best_of, hold_out, measured_by
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.table import TrainingInputs, training_table
from kard_ray.student.tracking import CURVE_FILE, TENSORBOARD_FOLDER

VERSION = 2

_EXAMPLES = "examples.parquet"  # what is trained on, schema TRAINING
_HELD_OUT = "held_out.parquet"  # what is only looked at, schema TRAINING

# A step's tensors come and go by gigabytes: memory that glibc gave back would fault in again, page by page.
# (WORKER_ENVIRONMENT of runtime/session.py keeps less: other workers than a trainer share their machine.)
CPU_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}


class _ShowProgress(UserCallback):
    """Optimizer steps as progress of the stage; runs in Ray Train's controller, whose output reaches the driver."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.progress: Progress | None = None
        self.step = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Count the steps since worker 0's last report."""
        report = metrics[0]
        if self.progress is None:
            self.step = report["resumed_at_step"]
            self.progress = Progress(self.label, total=report["steps"], unit="steps", done=self.step)
        # A worker that died goes back to its last checkpoint: steps done again do not count twice.
        self.progress.advance(max(0, report["step"] - self.step))
        self.step = max(self.step, report["step"])


class StudentTrainer(TorchTrainer):
    """A TorchTrainer without Ray's placement group cleaner where there is no dashboard.

    The cleaner asks the dashboard every second whether the controller lives, and warns as often, or ends with a
    traceback, when there is none. What it cleans up after, a controller that died, ends with a local cluster anyway.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]
        if get_dashboard_url():
            return callbacks
        return [c for c in callbacks if not isinstance(c, PlacementGroupCleanerCallback)]


def train(
    method: MethodName,
    inputs: TrainingInputs,
    config: StudentConfig,
    form: AnswerForm,
    artifact: Artifact,
    callbacks: Sequence[UserCallback] = (),
) -> Manifest:
    """Train the student of ``method`` on rows made from ``inputs``; it is stored in ``artifact`` under ``model/``.

    ``callbacks`` of Ray Train are told what the workers report; without any the stage's progress is shown.
    """
    from transformers import AutoConfig, AutoTokenizer

    check_requirements(config, run_is_local=artifact.run.is_local)
    model = resolve_model(config.model)
    tokenizer = AutoTokenizer.from_pretrained(model.path, local_files_only=True)
    table = training_table(
        method,
        inputs,
        config,
        form,
        tokenizer,
        encoder_decoder=AutoConfig.from_pretrained(model.path, local_files_only=True).is_encoder_decoder,
    )
    check_rows(table, tokenizer)
    held = hold_out(table, inputs.questions, config, form, tokenizer)
    if held is not None:
        table = held.training
        artifact.write_table(_HELD_OUT, held.rows)
    artifact.write_table(_EXAMPLES, table)
    trainer = StudentTrainer(
        _train_on_worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "model_path": model.path,
            "examples_url": artifact.url(_EXAMPLES),
            "student": f"{artifact}",
            "tensorboard_url": artifact.url(TENSORBOARD_FOLDER),
            "mlflow_uri": config.mlflow_uri or f"sqlite:///{os.path.abspath(artifact.run.path)}/mlflow.db",
            "held_out_url": artifact.url(_HELD_OUT),
            "golds": [asdict(gold) for gold in held.golds] if held else [],
            "form": form,
        },
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=config.gpus_per_worker > 0,
            resources_per_worker={"CPU": config.cpus_per_worker}
            | ({"GPU": config.gpus_per_worker} if config.gpus_per_worker else {}),
        ),
        run_config=RunConfig(  # type: ignore[call-arg]
            name="train",
            storage_path=_storage(artifact),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=list(callbacks) or [_ShowProgress(f"train {method}")],  # type: ignore[list-item,arg-type]
            worker_runtime_env={} if config.gpus_per_worker else {"env_vars": CPU_ENVIRONMENT},
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        told = why_training_failed(error, config)
        if told is None:
            raise
        raise UserError(told) from error
    if result.checkpoint is None:
        raise UserError(f"training {method} ended without a checkpoint; run the same command again.")
    for name in (MODEL_FOLDER, ADAPTER_FOLDER, CURVE_FILE):
        _keep(result.checkpoint, name, artifact)
    curve = artifact.read_table(CURVE_FILE)
    prompts = pc.sum(pc.list_value_length(table["prompt_ids"])).as_py()
    targets = pc.sum(pc.list_value_length(table["target_ids"])).as_py()
    return artifact.seal(
        rows={"examples": table.num_rows} | ({"held_out": held.rows.num_rows} if held else {}),
        counts={
            CUES: list(METHODS[method].cues),
            "questions": len(set(table["question_id"].to_pylist())),
            "steps": curve.num_rows,
            # Steps that an earlier attempt had done; None when the workers' last reports are not known.
            "resumed_at_step": result.metrics.get("resumed_at_step") if result.metrics else None,
            "prompt_tokens": prompts,
            "target_tokens": targets,
            "final_loss": curve["loss"][-1].as_py(),
        }
        | (_evaluations(result.checkpoint, config, curve.num_rows) if held else {}),
        models={model.ref: model.revision},
        seed=config.seed,
    )


def _evaluations(checkpoint: ray.train.Checkpoint, config: StudentConfig, steps: int) -> dict[str, Any]:
    """What was measured on held-out questions, and after which step the student is the one in the artifact."""
    path = posixpath.join(checkpoint.path, EVALUATIONS_FILE)
    with ArrowFSWrapper(checkpoint.filesystem).open(path, "rb") as source:
        found: list[dict[str, float]] = json.load(source)
    best = best_of(found, measured_by(config)) if config.best != "last" else None
    return {
        "student_step": best["step"] if best else steps,
        "held_out": {"measure": measured_by(config), "values": [[e["step"], e["value"]] for e in found]},
    }


def _train_on_worker(loop: dict[str, Any]) -> None:
    # Imported here: it takes seconds, and Ray Train's controller, which imports this module, does not need it.
    from kard_ray.student.training import train_student

    train_student(loop)


def _storage(artifact: Artifact) -> str:
    path = artifact.at(PARTS)
    return path if artifact.run.is_local else artifact.url(PARTS)


def _keep(checkpoint: ray.train.Checkpoint, name: str, artifact: Artifact) -> None:
    """Copy file or folder ``name``, if it is there, from the last checkpoint into the artifact."""
    source = ArrowFSWrapper(checkpoint.filesystem)
    kept = posixpath.join(checkpoint.path, name)
    if not source.exists(kept):
        return
    for path in source.find(kept):
        target = artifact.at(posixpath.relpath(path, checkpoint.path))
        artifact.run.fs.makedirs(posixpath.dirname(target), exist_ok=True)
        with source.open(path, "rb") as reader, artifact.run.fs.open(target, "wb") as writer:
            while block := reader.read(1 << 24):
                writer.write(block)
