"""The training loop of a reranker, on each Ray Train worker. Reads top to bottom.

What a step does is a function of candidate sets and recipe, so resuming needs only weights, optimizer and step: a run
that was killed goes on with the same rationales, candidates, temperatures, dropout and learning rates.

Shape letters: B rationales, C candidates of each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import Tensor

from kard_ray.reranker.annealing import last_temperatures, temperatures
from kard_ray.reranker.candidate_sets import CandidateSets, both_sides
from kard_ray.reranker.config import RERANKER_FOLDER, RerankerConfig
from kard_ray.reranker.loss import cross_entropy, kl_to_retriever
from kard_ray.reranker.measuring import measure
from kard_ray.reranker.model import Reranker, new_reranker
from kard_ray.training.checkpointing import Progress, checkpoint_folder, restore, unfinished
from kard_ray.training.optimizer import MasterAdamW, learning_rate
from kard_ray.training.order import plan_batches
from kard_ray.training.sharding import sum_gradients
from kard_ray.training.workers import agreed, quiet_reports, read_table, step_seed

# Ray Train fetches reports every 2 s and holds a worker until then: one every 10 s may cost a fifth of the time.
_REPORT_SECONDS = 30.0
_NOTHING, _METRICS, _CHECKPOINT = range(3)

# One row per optimizer step, without gaps, however often the training was interrupted.
CURVE = pa.schema(
    [
        pa.field("step", pa.int32()),  # from 1
        pa.field("loss", pa.float64()),  # nats per rationale, at the step's temperatures
        pa.field("learning_rate", pa.float64()),
        pa.field("gradient_norm", pa.float64()),  # before clipping
        pa.field("rationale_temperature", pa.float64()),
        pa.field("question_temperature", pa.float64()),
        # Of questions and passages, without padding, of all workers.
        pa.field("tokens_per_second", pa.float64()),
    ]
)

Ids = list[int]


def train_reranker_on_worker(loop: dict[str, Any]) -> None:
    """One worker's training.

    ``loop``: ``config`` (RerankerConfig as JSON), ``candidates_url`` and ``passages_url`` (schemas CANDIDATES and
    PASSAGE_TEXTS), ``knowledge_base`` (its version, for the saved reranker). Reports METRICS of held-out questions with
    ``epoch`` (how many are finished) at the beginning and after every epoch; reports between do not have them.
    """
    config = RerankerConfig.model_validate(loop["config"])
    quiet_reports()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(config.cpus_per_worker)
    torch.manual_seed(config.seed)  # a new head's and adapter's weights: the same on every worker

    sets, held_out = both_sides(read_table(loop["candidates_url"]), read_table(loop["passages_url"]))
    plan = plan_batches([1] * len(sets), batch_size=config.batch_size, epochs=config.epochs, seed=config.seed)
    per_epoch = len(plan) // config.epochs

    reranker = new_reranker(config, knowledge_base=loop["knowledge_base"])
    if device.type == "cpu":
        reranker.encoder.prefer_products()
    reranker.to(device).train()
    optimizer = MasterAdamW(reranker.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    progress = restore(optimizer, rank=rank)
    first_step = progress.step
    if first_step == len(plan):
        return  # killed between the last checkpoint and the manifest: the reranker is in that checkpoint

    def look() -> dict[str, float]:
        found = measure(
            reranker, held_out, _loss_of(config, *last_temperatures(config)),
            batch_tokens=config.micro_batch_tokens, rank=rank, world=world,
        )  # fmt: skip
        found["epoch"] = progress.step // per_epoch
        progress.evaluations.append(found | {"step": progress.step})
        return found

    def report(metrics: dict[str, float], checkpoint: ray.train.Checkpoint | None = None) -> None:
        done = {"step": progress.step, "steps": len(plan), "resumed_at_step": first_step}
        ray.train.report(metrics | done, checkpoint=checkpoint)

    if not progress.evaluations:
        report(look())
    saved = reported = time.monotonic()
    for number in range(first_step, len(plan)):
        started = time.monotonic()
        # The same dropout after a resume, and another one on each worker.
        torch.manual_seed(step_seed(config.seed, number, rank))
        tau_q, tau_p = temperatures(config, step=number, steps=len(plan))
        loss_of = _loss_of(config, tau_q, tau_p)
        rows = plan[number]
        sums = torch.zeros(2, dtype=torch.float64)  # loss, tokens
        for batch in _micro_batches(
            reranker, sets, rows[rank::world], config, seed=f"{config.seed}:{number // per_epoch}"
        ):
            score_BC = reranker.scores(
                [query for query, _, _ in batch], [passages for _, passages, _ in batch]
            )
            retriever_BC, mask_BC = _padded([scores for _, _, scores in batch], device)
            loss = loss_of(score_BC, retriever_BC, mask_BC).sum()
            (loss / len(rows)).backward()
            tokens = sum(len(query) + sum(map(len, passages)) for query, passages, _ in batch)
            sums += torch.tensor([loss.item(), tokens], dtype=torch.float64)
        if world > 1:
            sum_gradients(reranker.parameters())
            sums = sums.to(device)
            dist.all_reduce(sums)
        rate = learning_rate(
            number, steps=len(plan), peak=config.learning_rate, warmup_fraction=config.warmup_fraction
        )
        norm = optimizer.step(lr=rate, max_norm=config.max_gradient_norm)
        progress.step = number + 1
        row = {
            "step": number + 1,
            "loss": float(sums[0]) / len(rows),
            "learning_rate": rate,
            "gradient_norm": norm,
            "rationale_temperature": tau_q,
            "question_temperature": tau_p,
            "tokens_per_second": float(sums[1]) / (time.monotonic() - started),
        }
        progress.curve.append(row)

        epoch_ends, last = progress.step % per_epoch == 0, progress.step == len(plan)
        metrics = {f"training_{name}" if name == "loss" else name: value for name, value in row.items()}
        if epoch_ends:
            metrics |= look()
        now = time.monotonic()
        wish = _METRICS if epoch_ends or now - reported >= _REPORT_SECONDS else _NOTHING
        due = agreed(_CHECKPOINT if last or now - saved >= config.checkpoint_seconds else wish, world)
        if due == _METRICS:
            report(metrics)
        elif due == _CHECKPOINT:
            written = (
                _finished(progress, reranker, rank=rank)
                if last
                else unfinished(progress, optimizer, curve=CURVE, rank=rank)
            )
            with written as checkpoint:
                report(metrics, checkpoint)
            saved = time.monotonic()
        if due != _NOTHING:
            reported = time.monotonic()


@contextmanager
def _finished(progress: Progress, reranker: Reranker, *, rank: int) -> Iterator[ray.train.Checkpoint | None]:
    """The last checkpoint, on worker 0, with the reranker that the training ends with."""
    with checkpoint_folder(progress, curve=CURVE, rank=rank) as folder:
        if folder is None:
            yield None
            return
        reranker.save(os.path.join(folder, RERANKER_FOLDER))
        yield ray.train.Checkpoint.from_directory(folder)


def _loss_of(config: RerankerConfig, tau_q: float, tau_p: float) -> partial[Tensor]:
    if config.loss == "kl":
        return partial(kl_to_retriever, tau_q=tau_q, tau_p=tau_p)
    return partial(cross_entropy, tau_p=tau_p)


def _micro_batches(
    reranker: Reranker, sets: CandidateSets, rows: list[int], config: RerankerConfig, *, seed: str
) -> Iterator[list[tuple[Ids, list[Ids], list[float]]]]:
    """(question's tokens, passages' tokens, scores by the rationale) of ``rows``, as many as fit in a forward pass."""
    batch: list[tuple[Ids, list[Ids], list[float]]] = []
    held = 0
    for row in rows:
        drawn = sets.draw(row, config.candidates_per_step, seed)
        (query,) = reranker.query_tokens([sets.questions[row]])
        passages = reranker.passage_tokens(sets.texts(drawn))
        tokens = len(query) + sum(map(len, passages))
        if batch and held + tokens > config.micro_batch_tokens:
            yield batch
            batch, held = [], 0
        batch.append((query, passages, sets.scores(drawn).tolist()))
        held += tokens
    if batch:
        yield batch


def _padded(scores: list[list[float]], device: torch.device) -> tuple[Tensor, Tensor]:
    """``[B, C]`` scores and their mask."""
    longest = max(map(len, scores))
    retriever_BC = torch.tensor([of + [0.0] * (longest - len(of)) for of in scores], device=device)
    mask_BC = torch.tensor([[True] * len(of) + [False] * (longest - len(of)) for of in scores], device=device)
    return retriever_BC, mask_BC
