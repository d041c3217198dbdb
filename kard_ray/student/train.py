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
from ray.train import CheckpointConfig, FailureConfig, RunConfig
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.exceptions import TrainingFailedError

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.model_files import is_encoder_decoder, load_tokenizer
from kard_ray.runtime.models import resolve_model
from kard_ray.student.checks import check_requirements, check_rows
from kard_ray.student.config import ADAPTER_FOLDER, CUES, MODEL_FOLDER, StudentConfig
from kard_ray.student.failures import why_training_failed
from kard_ray.student.held_out import best_of, hold_out, measured_by
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.table import TrainingInputs, training_table
from kard_ray.student.tracking import TENSORBOARD_FOLDER
from kard_ray.training.trainer import (
    CURVE_FILE,
    EVALUATIONS_FILE,
    ShowProgress,
    Trainer,
    keep,
    scaling,
    storage_of,
    worker_environment,
)

VERSION = 2

_EXAMPLES = "examples.parquet"  # what is trained on, schema TRAINING
_HELD_OUT = "held_out.parquet"  # what is only looked at, schema TRAINING


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
    check_requirements(config, run_is_local=artifact.run.is_local)
    model = resolve_model(config.model)
    tokenizer = load_tokenizer(model.path)
    table = training_table(
        method,
        inputs,
        config,
        form,
        tokenizer,
        encoder_decoder=is_encoder_decoder(model.path),
    )
    check_rows(table, tokenizer)
    held = hold_out(table, inputs.questions, config, form, tokenizer)
    if held is not None:
        table = held.training
        artifact.write_table(_HELD_OUT, held.rows)
    artifact.write_table(_EXAMPLES, table)
    trainer = Trainer(
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
        scaling_config=scaling(config.workers, cpus=config.cpus_per_worker, gpus=config.gpus_per_worker),
        run_config=RunConfig(  # type: ignore[call-arg]
            name="train",
            storage_path=storage_of(artifact),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=list(callbacks) or [ShowProgress(f"train {method}")],  # type: ignore[list-item,arg-type]
            worker_runtime_env=worker_environment(config.gpus_per_worker),
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
        keep(result.checkpoint, name, artifact)
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
