"""Train one student on Ray Train; a killed run goes on from its last checkpoint."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.train
from fsspec.implementations.arrow import ArrowFSWrapper
from ray._private.worker import get_dashboard_url
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.callback import UserCallback

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.artifacts import PARTS, Artifact, Manifest
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model
from kard_ray.runtime.progress import Progress
from kard_ray.student.config import ADAPTER_FOLDER, ANSWER_CUE, MODEL_FOLDER, StudentConfig
from kard_ray.student.examples import build_examples, evidence_by_question, passages_by_question, tokenize
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.rendering import Renderer

VERSION = 1


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


class _Trainer(TorchTrainer):
    """A TorchTrainer without Ray's placement group cleaner where there is no dashboard.

    The cleaner asks the dashboard every second whether the controller lives, and warns as often, or ends with a
    traceback, when there is none. What it cleans up after, a controller that died, ends with a local cluster anyway.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]
        if get_dashboard_url():
            return callbacks
        return [c for c in callbacks if not isinstance(c, PlacementGroupCleanerCallback)]


def training_table(
    method: MethodName,
    questions: Sequence[Question],
    rationales: pa.Table,
    silver: pa.Table | None,
    found: pa.Table | None,
    config: StudentConfig,
    form: AnswerForm,
    tokenizer: Any,
    *,
    encoder_decoder: bool = False,
) -> pa.Table:
    """All rows the student sees (schema TRAINING); raises UserError when there is none."""
    evidence = evidence_by_question(rationales, silver, per_question=config.rationales, seed=config.seed)
    chosen = [q for q in questions if q.split == "train" and q.question_id in evidence]
    examples = build_examples(
        chosen,
        evidence,
        METHODS[method],
        found=passages_by_question(found),
        passages=config.passages,
        form=form,
        alpha=config.alpha,
    )
    if not examples:
        raise UserError(
            "no training question has a kept rationale; look at counts.dropped in the manifest of the rationales "
            "stage, and raise teacher.samples or change teacher.filters."
        )
    return tokenize(examples, Renderer(tokenizer, config.rendering, form, encoder_decoder=encoder_decoder))


def train(
    method: MethodName,
    questions: Sequence[Question],
    rationales: pa.Table,
    silver: pa.Table | None,
    found: pa.Table | None,
    config: StudentConfig,
    form: AnswerForm,
    artifact: Artifact,
) -> Manifest:
    """Train the student of ``method`` and store it in ``artifact`` under ``model/``.

    It reads the passages of ``silver`` (schema SILVER) or ``found`` (schema QUESTION_PASSAGES), whichever is given.
    """
    from transformers import AutoConfig, AutoTokenizer

    model = resolve_model(config.model)
    tokenizer = AutoTokenizer.from_pretrained(model.path, local_files_only=True)
    table = training_table(
        method,
        questions,
        rationales,
        silver,
        found,
        config,
        form,
        tokenizer,
        encoder_decoder=AutoConfig.from_pretrained(model.path, local_files_only=True).is_encoder_decoder,
    )
    artifact.write_table("examples.parquet", table)
    steps = max(1, round(-(-table.num_rows // config.batch_size) * config.epochs))
    trainer = _Trainer(
        _train_on_worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "model_path": model.path,
            "examples_url": artifact.url("examples.parquet"),
        },
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=config.gpus_per_worker > 0,
            resources_per_worker={"CPU": config.cpus_per_worker}
            | ({"GPU": config.gpus_per_worker} if config.gpus_per_worker else {}),
        ),
        run_config=RunConfig(
            name="train",
            storage_path=_storage(artifact),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=[_ShowProgress(f"train {method}")],  # type: ignore[list-item]
        ),
    )
    result = trainer.fit()
    if result.checkpoint is None:
        raise UserError(f"training {method} ended without a checkpoint; run the same command again.")
    for folder in (MODEL_FOLDER, ADAPTER_FOLDER):
        _keep(result.checkpoint, folder, artifact)
    prompts = pc.sum(pc.list_value_length(table["prompt_ids"])).as_py()
    targets = pc.sum(pc.list_value_length(table["target_ids"])).as_py()
    return artifact.seal(
        rows={"examples": table.num_rows},
        counts={
            ANSWER_CUE: METHODS[method].answer_cue,
            "questions": len(set(table["question_id"].to_pylist())),
            "steps": steps,
            # Steps that an earlier attempt had done; None when the workers' last reports are not known.
            "resumed_at_step": result.metrics.get("resumed_at_step") if result.metrics else None,
            "prompt_tokens": prompts,
            "target_tokens": targets,
            "final_loss": result.metrics["loss"] if result.metrics else None,
        },
        models={model.ref: model.revision},
        seed=config.seed,
    )


def _train_on_worker(loop: dict[str, Any]) -> None:
    # Imported here: it takes seconds, and Ray Train's controller, which imports this module, does not need it.
    from kard_ray.student.training import train_student

    train_student(loop)


def _storage(artifact: Artifact) -> str:
    path = artifact.at(PARTS)
    return path if artifact.run.is_local else artifact.url(PARTS)


def _keep(checkpoint: ray.train.Checkpoint, name: str, artifact: Artifact) -> None:
    """Copy the files of folder ``name``, if there is one, from the last checkpoint into the artifact."""
    source = ArrowFSWrapper(checkpoint.filesystem)
    folder = posixpath.join(checkpoint.path, name)
    if not source.exists(folder):
        return
    for path in source.find(folder):
        target = artifact.at(name, posixpath.relpath(path, folder))
        artifact.run.fs.makedirs(posixpath.dirname(target), exist_ok=True)
        with source.open(path, "rb") as reader, artifact.run.fs.open(target, "wb") as writer:
            while block := reader.read(1 << 24):
                writer.write(block)
