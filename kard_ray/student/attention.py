"""Attention of packed rows: causal inside each row, and no token sees another row.

A mask over the whole pack would cost its length squared. Rows are cut apart instead, and each goes through PyTorch's
causal kernel alone, so a pack costs what its rows cost. On GPUs with flash-attn its kernel for rows of different
lengths does the same in one call (transformers finds the rows where ``position_ids`` begin at 0 again).

While training in bfloat16 on a CPU, short rows go through matrix products instead: the backward pass of PyTorch's CPU
kernel took a quarter of a step (a row of 385 tokens and 9 heads, one thread: 10.8 ms there and back, 5.7 ms so).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.utils.import_utils import is_flash_attn_2_available

_ROWS = "kard_ray_rows"
_FLASH = "flash_attention_2"
# A probe's rows: long enough for a leak to show, and the second one short, so that checking costs nothing.
_PROBE = (7, 5)
_SHORT = 512  # tokens: 13.9 against 11.6 ms; at 1,024 PyTorch's kernel is faster, and the products are large


def rows_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_lengths: tuple[int, ...] = (),
    **settings: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers for ``query`` (1, heads, L, d), ``key`` and ``value`` alike.

    ``row_lengths`` sum up to L; none means an unpacked batch. Returns (1, L, heads, d).
    """
    if not row_lengths:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    # split, not slices: the gradient of a slice is a tensor of the whole length for each row.
    rows = zip(*(states.split(row_lengths, dim=2) for states in (query, key, value)), strict=True)
    products = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
    products = products and not settings.get("dropout")
    outputs = []
    for q, k, v in rows:
        if products and q.shape[2] <= _SHORT:
            k, v = (repeat_kv(states, getattr(module, "num_key_value_groups", 1)) for states in (k, v))
            row = _CausalProducts.apply(q[0], k[0], v[0], settings["scaling"])  # type: ignore[no-untyped-call]
            outputs.append(row.transpose(0, 1)[None])
        else:
            outputs.append(sdpa_attention_forward(module, q, k, v, None, **settings)[0])
    return torch.cat(outputs, dim=1), None


class _CausalProducts(torch.autograd.Function):
    """Causal attention of one row, without dropout: query, key, value (heads, L, d); keeps the L x L chances."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """softmax(scaling * query key^T) value, (heads, L, d)."""
        length = query.shape[1]
        future = torch.full((length, length), float("-inf"), dtype=query.dtype).triu_(1)
        chances = torch.baddbmm(future, query, key.transpose(1, 2), alpha=scaling).softmax(-1)
        ctx.save_for_backward(query, key, value, chances)
        ctx.scaling = scaling
        return chances @ value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Of query, key and value."""
        query, key, value, chances = ctx.saved_tensors
        of_chances = gradient @ value.transpose(1, 2)
        of_scores = torch._softmax_backward_data(of_chances, chances, -1, chances.dtype)
        of_query = (of_scores @ key).mul_(ctx.scaling)
        of_key = (of_scores.transpose(1, 2) @ query).mul_(ctx.scaling)
        return of_query, of_key, chances.transpose(1, 2) @ gradient, None


AttentionInterface.register(_ROWS, rows_attention)


def allow_packing(model: Any) -> bool:
    """Have ``model`` read packed rows if it can; returns whether it can.

    It cannot when it is an encoder-decoder, has no exchangeable attention, looks at a sliding window, or if, tried
    out, a row's outputs are not those that it has alone.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if getattr(config, "layer_types", None):
        windows = False  # the kinds tell
    if (
        config.is_encoder_decoder
        or not base._supports_attention_backend
        or windows
        or kinds != {"full_attention"}
    ):
        return False
    before = config._attn_implementation
    on_gpu = next(base.parameters()).is_cuda and base.dtype in (torch.bfloat16, torch.float16)
    base.set_attn_implementation(_FLASH if on_gpu and is_flash_attn_2_available() else _ROWS)
    if _rows_are_apart(base):
        return True
    base.set_attn_implementation(before)
    return False


def packed_arguments(model: Any, row_lengths: tuple[int, ...]) -> dict[str, Any]:
    """What ``model`` needs, beside ``position_ids``, to read a pack of rows of ``row_lengths`` tokens."""
    return {"row_lengths": row_lengths} if model.config._attn_implementation == _ROWS else {}


@contextmanager
def unpacked(model: Any) -> Iterator[None]:
    """Inside, ``model`` attends as transformers has it do, masks and caches included: for generating."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.config._attn_implementation
    if before == _ROWS:
        base.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        base.set_attn_implementation(before)


@torch.no_grad()
def _rows_are_apart(model: Any) -> bool:
    """Whether the second row of a pack has the outputs that it has alone, whatever the first one is."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    first, second = _PROBE
    ids = torch.arange(3, 3 + first + second, device=device)[None] % model.config.vocab_size
    places = torch.cat([torch.arange(length, device=device) for length in _PROBE])[None]
    other = ids.clone()
    other[:, :first] = ids[:, :first].flip(1)
    outputs = [
        model(input_ids=pack, position_ids=places, use_cache=False, **packed_arguments(model, _PROBE)).logits[
            0, first:
        ]
        for pack in (ids, other)
    ]
    alone = model(input_ids=ids[:, first:], use_cache=False).logits[0]
    model.train(training)
    apart = torch.equal(*outputs)
    return apart and bool((outputs[0] - alone).abs().max() <= 0.05 * alone.abs().max())
