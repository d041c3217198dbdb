"""The distillation loss: cross-entropy on the target tokens only (KARD, equations 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kard_ray.student.batching import Batch, SourceTarget


def target_loss(model: Any, batch: Batch | SourceTarget) -> Tensor:
    """Sum over target tokens of -log p(token | everything before it), in nats (float32 scalar).

    For decoder-only models only the tokens that predict a target token pass the output layer: a vocabulary of 49,152 is
    85 times as wide as SmolLM2's hidden states.
    """
    if isinstance(batch, SourceTarget):
        labels = batch.label_BT.flatten()
        output = model(input_ids=batch.source_BS, attention_mask=batch.mask_BS, labels=batch.label_BT)
    else:
        labels = batch.label_N
        with _output_layer_only_at(model, batch.position_N):
            output = model(input_ids=batch.input_BL, use_cache=False)
    logits = output.logits.float().flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")


@contextmanager
def _output_layer_only_at(model: Any, position_N: Tensor) -> Iterator[None]:
    """Give the output layer the hidden states at ``position_N`` of the flattened batch, as one row of N tokens.

    ``logits_to_keep`` of transformers can only name the same columns for all rows.
    """
    layer = getattr(model, "module", model).get_output_embeddings()  # DistributedDataParallel: .module

    def choose(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[position_N][None], *inputs[1:])

    hook = layer.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        hook.remove()
