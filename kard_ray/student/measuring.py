"""Measure a student in the middle of its training, with the workers that train it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from transformers import GenerationConfig

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.student.attention import unpacked
from kard_ray.student.batching import Batch, SourceTarget
from kard_ray.student.held_out import Gold, Measure, answered
from kard_ray.student.loss import target_loss

Row = tuple[list[int], list[int]]

_ANSWERS_AT_ONCE = 16


class Examiner:
    """Looks at the held-out rows; every worker takes its part of them, or all where weights are divided."""

    def __init__(
        self,
        rows: Sequence[Row],
        weights: Sequence[float],
        golds: Sequence[Gold],
        *,
        measure: Measure,
        form: AnswerForm,
        tokenizer: Any,
        collate: Callable[..., Batch | SourceTarget],
        tokens_at_once: int,
        rank: int,
        world: int,
    ) -> None:
        mine = range(rank, len(rows), world)
        self._rows, self._weights = [rows[at] for at in mine], [weights[at] for at in mine]
        self._golds = [golds[at] for at in mine] if golds else []
        self._measure, self._form, self._tokenizer = measure, form, tokenizer
        self._collate, self._tokens_at_once, self._world = collate, tokens_at_once, world
        self._count = len(rows) if measure == "accuracy" else sum(len(target) for _, target in rows)
        # A student that is not trained yet may never stop; one that writes half as much again as any target is wrong.
        self._most = 8 + 3 * max(len(target) for _, target in rows) // 2

    @torch.no_grad()
    def value(self, model: Any, device: torch.device) -> float:
        """Nats per held-out target token, or the share of held-out questions answered rightly."""
        model.eval()
        if self._measure == "loss":
            own = self._loss(model, device)
        else:
            with unpacked(model):
                own = float(answered(self._texts(model, device), self._golds, self._form))
        model.train()
        total = torch.tensor(own, dtype=torch.float64, device=device)
        if self._world > 1:
            dist.all_reduce(total)
        return float(total) / self._count

    def _loss(self, model: Any, device: torch.device) -> float:
        total, begin = 0.0, 0
        while begin < len(self._rows):
            end, tokens = begin, 0
            while end < len(self._rows):
                tokens += sum(map(len, self._rows[end]))
                if end > begin and tokens > self._tokens_at_once:
                    break
                end += 1
            batch = self._collate(self._rows[begin:end], weights=self._weights[begin:end])
            total += float(target_loss(model, batch.to(device)))
            begin = end
        return total

    def _texts(self, model: Any, device: torch.device) -> list[str]:
        """What the student writes greedily to each prompt."""
        pad = self._tokenizer.pad_token_id
        pad = self._tokenizer.eos_token_id if pad is None else pad
        settings = GenerationConfig(
            max_new_tokens=self._most,
            do_sample=False,
            eos_token_id=self._tokenizer.eos_token_id,
            pad_token_id=pad,
            decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
            use_cache=True,
        )
        texts: list[str] = []
        for begin in range(0, len(self._rows), _ANSWERS_AT_ONCE):
            prompts = [prompt for prompt, _ in self._rows[begin : begin + _ANSWERS_AT_ONCE]]
            longest = max(map(len, prompts))
            ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=device)
            mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
            written = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
            if not model.config.is_encoder_decoder:
                written = written[:, longest:]
            texts += self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return texts
