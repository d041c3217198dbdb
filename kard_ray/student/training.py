"""The training loop of one student, on each Ray Train worker. Reads top to bottom; no stage knows another way to train.

What every step does is a function of rows and recipe (:mod:`kard_ray.student.plan`), so resuming needs only the step: a
run that was killed goes on with the same batches and learning rates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from transformers import AutoTokenizer

from kard_ray.student.attention import allow_packing
from kard_ray.student.batching import (
    Batch,
    SourceTarget,
    collate,
    collate_source_target,
    pack,
    packs,
)
from kard_ray.student.config import StudentConfig
from kard_ray.student.finishing import finished
from kard_ray.student.held_out import HELD_OUT, Gold, is_better, measured_by
from kard_ray.student.loading import load_student
from kard_ray.student.loss import target_loss
from kard_ray.student.measuring import Examiner, Row
from kard_ray.student.plan import Step, evaluation_steps, plan_training
from kard_ray.student.tracking import CURVE, MLflow, TensorBoard, Tracker
from kard_ray.training.checkpointing import Progress, restore, unfinished
from kard_ray.training.optimizer import MasterAdamW
from kard_ray.training.order import micro_batches
from kard_ray.training.sharding import exchange_gradients, share
from kard_ray.training.workers import agreed, quiet_reports, read_table, step_seed

# Ray Train fetches reports every 2 s and holds a worker until then: one report every 10 s may cost a fifth of the time.
_REPORT_SECONDS = 30.0
_NOTHING, _METRICS, _CHECKPOINT = range(3)


def train_student(loop: dict[str, Any]) -> None:
    """One worker's training.

    ``loop``: ``config`` (StudentConfig as JSON), ``model_path``, ``examples_url``, ``student`` (its name for trackers),
    ``tensorboard_url``, ``mlflow_uri``, and for held-out questions ``held_out_url``, ``golds`` and ``form``.
    """
    config = StudentConfig.model_validate(loop["config"])
    quiet_reports()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(config.cpus_per_worker)
    torch.manual_seed(config.seed)  # a new adapter's weights: the same on every worker

    table = read_table(loop["examples_url"])
    rows, weights = _rows(table), table["weight"].to_pylist()
    lengths = [len(prompt) + len(target) for prompt, target in rows]
    plan = plan_training(lengths, table["stage"].to_pylist(), config)

    model = load_student(loop["model_path"], config)
    tokenizer = AutoTokenizer.from_pretrained(loop["model_path"], local_files_only=True)
    if config.quantization == "none":
        model.to(device)
    model.train()
    packed = config.packing and allow_packing(model)
    batch_of = _batches(model, tokenizer, packed=packed)
    shared = share(model, config.sharding, world)
    divided = world > 1 and config.sharding == "fsdp"
    optimizer = MasterAdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    progress = restore(optimizer, rank=rank)
    first_step = progress.step
    if first_step == len(plan):
        return  # killed between the last checkpoint and the manifest: the student is in that checkpoint
    examiner, looks = None, frozenset[int]()
    if config.held_out:
        looks = frozenset(evaluation_steps(plan, config.evaluations))
        held = read_table(loop["held_out_url"])
        # Divided weights are fetched from all workers at every layer, so all must go through the same rows.
        part = {"rank": 0, "world": 1} if divided else {"rank": rank, "world": world}
        examiner = Examiner(
            _rows(held), held["weight"].to_pylist(), [Gold(**gold) for gold in loop["golds"]],
            measure=measured_by(config), form=loop["form"], tokenizer=tokenizer, collate=batch_of,
            tokens_at_once=config.micro_batch_tokens, **part,
        )  # fmt: skip
    trackers = _trackers(loop, config, resumed_at=first_step) if rank == 0 else []
    shown: list[dict[str, Any]] = []  # rows that trackers have not got yet

    saved = reported = time.monotonic()
    for number in range(first_step, len(plan)):
        step = plan[number]
        started = time.monotonic()
        # The same dropout after a resume, and another one on each worker.
        torch.manual_seed(step_seed(config.seed, number, rank))
        labels = sum(len(rows[row][1]) for row in step.rows)
        parts = _parts(step, lengths, config, packed=packed, rank=rank, world=world)
        loss_sum = torch.zeros((), device=device)
        for at, part_rows in enumerate(parts):
            # A worker without rows in this micro-batch still takes part in the gradient exchange, with weight 0.
            chosen = part_rows or step.rows[:1]
            batch = batch_of([rows[row] for row in chosen], weights=[weights[row] for row in chosen])
            exchange_gradients(shared, at == len(parts) - 1)
            loss = target_loss(shared, batch.to(device)) * (1.0 if part_rows else 0.0)
            # Gradients are averaged over workers: times `world`, so that the step's loss is the weighted sum over its
            # label tokens, by their number: their mean where all rows weigh 1.
            (loss * (world / labels)).backward()
            loss_sum += loss.detach()
        norm = optimizer.step(lr=step.rate, max_norm=config.max_gradient_norm)
        if world > 1:
            dist.all_reduce(loss_sum)
        row = {
            "step": number + 1,
            "stage": step.stage,
            "loss": float(loss_sum) / labels,
            "learning_rate": step.rate,
            "gradient_norm": norm,
            "tokens_per_second": sum(lengths[row] for row in step.rows) / (time.monotonic() - started),
        }
        progress.step = number + 1
        progress.curve.append(row)
        shown.append(row)
        seen: dict[str, float] = {}
        if examiner is not None and number + 1 in looks:
            value = examiner.value(model, device)
            _remember(progress, value, optimizer, config, rank=rank)
            seen = {HELD_OUT + measured_by(config): value}
            shown.append({"step": number + 1, **seen})

        last = number + 1 == len(plan)
        now = time.monotonic()
        wish = _METRICS if seen or now - reported >= _REPORT_SECONDS else _NOTHING
        due = agreed(_CHECKPOINT if last or now - saved >= config.checkpoint_seconds else wish, world)
        if due == _NOTHING:
            continue
        for tracker in trackers:
            tracker.write(shown)
        shown = []
        metrics = row | seen | {"steps": len(plan), "resumed_at_step": first_step}
        if due == _METRICS:
            ray.train.report(metrics)
        elif last:
            with finished(
                progress, model, optimizer, tokenizer,
                model_path=loop["model_path"], config=config, divided=divided, rank=rank,
            ) as checkpoint:  # fmt: skip
                ray.train.report(metrics, checkpoint=checkpoint)
        else:
            with unfinished(progress, optimizer, curve=CURVE, rank=rank) as checkpoint:
                ray.train.report(metrics, checkpoint=checkpoint)
            saved = time.monotonic()
        reported = time.monotonic()
    for tracker in trackers:
        tracker.close()


def _rows(table: pa.Table) -> list[Row]:
    return list(zip(table["prompt_ids"].to_pylist(), table["target_ids"].to_pylist(), strict=True))


def _batches(model: Any, tokenizer: Any, *, packed: bool) -> Callable[..., Batch | SourceTarget]:
    """How rows become a micro-batch. An encoder-decoder's are never packed: its two sides have two lengths."""
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if model.config.is_encoder_decoder:
        return partial(collate_source_target, pad=pad)
    return partial(pack if packed else collate, pad=pad)


def _parts(
    step: Step, lengths: list[int], config: StudentConfig, *, packed: bool, rank: int, world: int
) -> list[list[int]]:
    """The own micro-batches of a step, as many as every other worker has."""
    if packed:
        return packs(step.rows, lengths, rank=rank, world=world, tokens=config.micro_batch_tokens)
    size = max(1, config.micro_batch_tokens // max(lengths[row] for row in step.rows))
    return micro_batches(step.rows, rank=rank, world=world, size=size)


def _remember(
    progress: Progress, value: float, optimizer: MasterAdamW, config: StudentConfig, *, rank: int
) -> None:
    """Write down a measurement, and keep the weights when they are the best ones and the best ones are wanted."""
    measure = measured_by(config)
    before = [found["value"] for found in progress.evaluations]
    progress.evaluations.append({"step": progress.step, "value": value})
    if config.best == "last" or any(not is_better(measure, value, than) for than in before):
        return
    weights = optimizer.weights()  # on all workers, since weights may be divided
    if rank == 0:
        progress.best_weights = weights


def _trackers(loop: dict[str, Any], config: StudentConfig, *, resumed_at: int) -> list[Tracker]:
    found: list[Tracker] = []
    if "tensorboard" in config.tracking:
        found.append(TensorBoard(loop["tensorboard_url"], resumed_at=resumed_at))
    if "mlflow" in config.tracking:
        found.append(MLflow(loop["mlflow_uri"], student=loop["student"], settings=loop["config"]))
    return found
