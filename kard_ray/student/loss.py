"""The distillation loss: cross-entropy on the target tokens only (KARD, equations 1 and 2).

Of two tasks at once: L = (1 - alpha) L_rationale + alpha L_answer (SKIntern, section 4.2 and A.3), as weights of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kard_ray.student.attention import packed_arguments
from kard_ray.student.batching import Batch, SourceTarget


def target_loss(model: Any, batch: Batch | SourceTarget) -> Tensor:
    """Sum over target tokens of weight * -log p(token | everything before it), in nats (float32 scalar).

    For decoder-only models only the tokens that predict a target token pass the output layer: a vocabulary of 49,152 is
    85 times as wide as SmolLM2's hidden states.
    """
    if isinstance(batch, SourceTarget):
        labels, weights = batch.label_BT.flatten(), batch.weight_BT
        output = model(
            input_ids=batch.source_BS, attention_mask=batch.mask_BS, labels=batch.label_BT, use_cache=False
        )
    else:
        labels, weights = batch.label_N, batch.weight_N
        with _output_layer_only_at(model, batch.position_N):
            more: dict[str, Any] = {}
            if batch.place_BL is not None:
                bare = getattr(model, "module", model)  # DistributedDataParallel: .module
                more = {"position_ids": batch.place_BL} | packed_arguments(bare, batch.row_lengths)
            output = model(input_ids=batch.input_BL, use_cache=False, **more)
    logits = output.logits.float().flatten(0, 1)
    if weights is None:
        return torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    losses = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="none")
    return (weights.flatten() * losses).sum()


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
