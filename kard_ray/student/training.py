"""The training loop of one student, on each Ray Train worker. Reads top to bottom; no stage knows another way to train.

The order of batches is a function of the seed, so resuming needs only the step: a run that was killed goes on
with the same batches and learning rates.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from typing import Any

import fsspec
import pyarrow.parquet as pq
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train.v2._internal.execution import context as reports
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from kard_ray.student.batching import collate, collate_source_target, micro_batches, plan_batches
from kard_ray.student.config import ADAPTER_FOLDER, MODEL_FOLDER, StudentConfig
from kard_ray.student.loss import target_loss
from kard_ray.student.optimizer import MasterAdamW, learning_rate

_STATE = "training_state.pt"
# Ray Train fetches reports every 2 s and holds a worker until then: one report every 10 s may cost a fifth of the time.
_REPORT_SECONDS = 30.0
_NOTHING, _METRICS, _CHECKPOINT = range(3)


def load_student(model_path: str, config: StudentConfig) -> Any:
    """The model to train: all weights, or a LoRA adapter on frozen ones."""
    architecture = AutoConfig.from_pretrained(model_path, local_files_only=True)
    kind = AutoModelForSeq2SeqLM if architecture.is_encoder_decoder else AutoModelForCausalLM
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    model = kind.from_pretrained(
        model_path, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.config.use_cache = False
    if config.lora_rank:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model,
            LoraConfig(
                r=config.lora_rank,
                lora_alpha=2 * config.lora_rank,  # SKIntern's ratio (papers' LoRA settings, B5)
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="SEQ_2_SEQ_LM" if architecture.is_encoder_decoder else "CAUSAL_LM",
            ),
        )
        if config.gradient_checkpointing:
            model.enable_input_require_grads()
    return model


def train_student(loop: dict[str, Any]) -> None:
    """One worker's training. ``loop``: ``config`` (StudentConfig as JSON), ``model_path``, ``examples_url``."""
    config = StudentConfig.model_validate(loop["config"])
    # It repeats every report, which progress shows already; Ray names this logger after its file.
    logging.getLogger(reports.__file__).setLevel(logging.WARNING)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(config.cpus_per_worker)
    torch.manual_seed(config.seed)

    fs, path = fsspec.core.url_to_fs(loop["examples_url"])
    with fs.open(path, "rb") as source:
        table = pq.read_table(source)
    rows = list(zip(table["prompt_ids"].to_pylist(), table["target_ids"].to_pylist(), strict=True))
    weights = table["weight"].to_pylist()
    lengths = [len(prompt) + len(target) for prompt, target in rows]
    plan = plan_batches(lengths, batch_size=config.batch_size, epochs=config.epochs, seed=config.seed)

    model = load_student(loop["model_path"], config)
    tokenizer = AutoTokenizer.from_pretrained(loop["model_path"], local_files_only=True)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    encoder_decoder = bool(model.config.is_encoder_decoder)
    model.to(device).train()
    optimizer = MasterAdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    first_step = _restore(optimizer)
    if first_step == len(plan):
        return  # killed between the last checkpoint and the manifest: the student is in that checkpoint
    wrapped = ray.train.torch.prepare_model(model, move_to_device=False) if world > 1 else model

    saved = reported = time.monotonic()
    for step in range(first_step, len(plan)):
        started = time.monotonic()
        batch_rows = plan[step]
        labels = sum(len(rows[row][1]) for row in batch_rows)
        at_once = max(1, config.micro_batch_tokens // max(lengths[row] for row in batch_rows))
        parts = micro_batches(batch_rows, rank=rank, world=world, size=at_once)
        loss_sum = torch.zeros((), device=device)
        for number, part in enumerate(parts):
            # A worker without rows in this micro-batch still takes part in the gradient exchange, with weight 0.
            at = part or batch_rows[:1]
            batch = (collate_source_target if encoder_decoder else collate)(
                [rows[row] for row in at], pad=pad, weights=[weights[row] for row in at]
            )
            if world > 1:
                wrapped.require_backward_grad_sync = number == len(parts) - 1
            loss = target_loss(wrapped, _to(batch, device)) * (1.0 if part else 0.0)
            # DDP averages over workers: times `world`, so that the step's loss is the weighted sum over its label
            # tokens, by their number: their mean where all rows weigh 1.
            (loss * (world / labels)).backward()
            loss_sum += loss.detach()
        rate = learning_rate(
            step, steps=len(plan), peak=config.learning_rate, warmup_fraction=config.warmup_fraction
        )
        norm = optimizer.step(lr=rate, max_norm=config.max_gradient_norm)
        if world > 1:
            dist.all_reduce(loss_sum)
        metrics = {
            "step": step + 1,
            "steps": len(plan),
            "resumed_at_step": first_step,
            "loss": float(loss_sum) / labels,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens_per_second": sum(lengths[row] for row in batch_rows) / (time.monotonic() - started),
        }
        last = step + 1 == len(plan)
        now = time.monotonic()
        wish = _METRICS if now - reported >= _REPORT_SECONDS else _NOTHING
        due = _agreed(_CHECKPOINT if last or now - saved >= config.checkpoint_seconds else wish, world)
        if due == _CHECKPOINT:
            _report(metrics, model, tokenizer, optimizer, rank=rank, final=last)
            saved = reported = time.monotonic()
        elif due == _METRICS:
            ray.train.report(metrics)
            reported = time.monotonic()


def _agreed(wish: int, world: int) -> int:
    """Worker 0's wish, on all workers: Ray Train waits until every worker has reported."""
    if world == 1:
        return wish
    flag = torch.tensor([wish], device=ray.train.torch.get_device())
    dist.broadcast(flag, src=0)
    return int(flag.item())


def _to(batch: Any, device: torch.device) -> Any:
    parts = (getattr(batch, name) for name in batch.__slots__)
    return type(batch)(*(None if part is None else part.to(device) for part in parts))


def _restore(optimizer: MasterAdamW) -> int:
    """Set weights and optimizer from the last checkpoint, if there is one; returns the first step to do."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state = torch.load(os.path.join(folder, _STATE), map_location="cpu", weights_only=True)
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _report(
    metrics: dict[str, Any], model: Any, tokenizer: Any, optimizer: MasterAdamW, *, rank: int, final: bool
) -> None:
    """Report with a checkpoint from worker 0: the student itself at the end, the optimizer's state before."""
    if rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        if final:
            target = os.path.join(folder, MODEL_FOLDER)
            if hasattr(model, "merge_and_unload"):
                model.save_pretrained(os.path.join(folder, ADAPTER_FOLDER))
                model = (
                    model.merge_and_unload()
                )  # a plain model: prediction and serving need not know about LoRA
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
        state = {"step": metrics["step"], "optimizer": {} if final else optimizer.state_dict()}
        torch.save(state, os.path.join(folder, _STATE))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
