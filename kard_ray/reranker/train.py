"""Train the reranker on Ray Train; a killed run goes on from its last checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
from ray.train import CheckpointConfig, FailureConfig, RunConfig
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.exceptions import TrainingFailedError

from kard_ray.reranker.candidates import CANDIDATES_FILE, PASSAGES_FILE
from kard_ray.reranker.config import RERANKER_FOLDER, RerankerConfig
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model
from kard_ray.training.failures import why_training_failed
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

VERSION = 2  # 1: dropout of the encoder, whatever the recipe said


def build_trainer(
    config: RerankerConfig,
    candidates: Artifact,
    *,
    storage: str,
    name: str = "train",
    knowledge_base: Mapping[str, Any] | None = None,
    callbacks: Sequence[UserCallback] = (),
) -> Trainer:
    """The trainer of a reranker on finished ``candidates``: of a run's, and of every trial of a sweep.

    Its checkpoints lie under ``storage``/``name``; a second trainer of the same names goes on from the last one.
    ``callbacks`` are told what the workers report (see ``training.train_reranker_on_worker``); without any, progress
    is shown.
    """
    return Trainer(
        _train_on_worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "candidates_url": candidates.url(CANDIDATES_FILE),
            "passages_url": candidates.url(PASSAGES_FILE),
            "knowledge_base": dict(knowledge_base or {}),
        },
        scaling_config=scaling(config.workers, cpus=config.cpus_per_worker, gpus=config.gpus_per_worker),
        run_config=RunConfig(  # type: ignore[call-arg]
            name=name,
            storage_path=storage,
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=list(callbacks) or [ShowProgress("train reranker")],  # type: ignore[list-item,arg-type]
            worker_runtime_env=worker_environment(config.gpus_per_worker),
        ),
    )


def train_reranker(
    config: RerankerConfig,
    candidates: Artifact,
    artifact: Artifact,
    callbacks: Sequence[UserCallback] = (),
) -> Manifest:
    """Train on ``candidates``; the reranker is stored in ``artifact`` under ``reranker/``."""
    from kard_ray.reranker.candidate_sets import both_sides
    from kard_ray.reranker.measuring import first_stage
    from kard_ray.reranker.model import check_model

    candidates.verify()
    model = resolve_model(config.model)
    check_model(config, model.path)
    training, held_out = both_sides(
        candidates.read_table(CANDIDATES_FILE), candidates.read_table(PASSAGES_FILE)
    )
    trainer = build_trainer(
        config, candidates, storage=storage_of(artifact), knowledge_base=artifact.reads, callbacks=callbacks
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        told = why_training_failed(
            error, less_memory=_less_memory(config), failures_field="reranker.max_failures"
        )
        if told is None:
            raise
        raise UserError(told) from error
    if result.checkpoint is None:
        raise UserError("training the reranker ended without a checkpoint; run the same command again.")
    for name in (RERANKER_FOLDER, CURVE_FILE, EVALUATIONS_FILE):
        keep(result.checkpoint, name, artifact)
    curve = artifact.read_table(CURVE_FILE)
    evaluations: list[dict[str, float]] = json.loads(artifact.read_text(EVALUATIONS_FILE))
    return artifact.seal(
        rows={"rationales": len(training), "held_out": len(held_out)},
        counts={
            "steps": curve.num_rows,
            # Steps that an earlier attempt had done; None when the workers' last reports are not known.
            "resumed_at_step": result.metrics.get("resumed_at_step") if result.metrics else None,
            "final_loss": pc.mean(curve["loss"].slice(max(0, curve.num_rows - 10))).as_py(),
            "first_stage": first_stage(held_out),  # what the questions' own searches reach, to compare with
            "evaluations": evaluations,
        },
        models={model.ref: model.revision},
        seed=config.seed,
    )


def _train_on_worker(loop: dict[str, Any]) -> None:
    # Imported here: it takes seconds, and Ray Train's controller, which imports this module, does not need it.
    from kard_ray.reranker.training import train_reranker_on_worker

    train_reranker_on_worker(loop)


def _less_memory(config: RerankerConfig) -> str:
    """What is left to change, what costs least first."""
    ways = [
        f"lower reranker.micro_batch_tokens (now {config.micro_batch_tokens})",
        f"lower reranker.candidates_per_step (now {config.candidates_per_step})",
    ]
    if not config.lora_rank:
        ways.append("set reranker.lora_rank to 16 or so")
    if config.workers > 1:
        ways.append(f"lower reranker.workers (now {config.workers}) if they share a machine")
    return ", ".join(ways[:-1]) + " or " + ways[-1]
