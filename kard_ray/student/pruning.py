"""A smaller student from a larger model: some of its layers, evenly spaced (as DistilBERT is begun, Sanh et al. 2019).

What is left is no language model until it is trained again; the training of a method is all it gets.
"""

from __future__ import annotations

from typing import Any

import torch

from kard_ray.runtime.errors import UserError


def keep_layers(model: Any, count: int) -> None:
    """Leave ``count`` layers of a decoder-only ``model``: the first, the last, and evenly spaced ones between.

    Changes model and configuration in place; saved and loaded again it is a model of ``count`` layers. Raises UserError
    when it has fewer, or keeps them in a way that is not known here.
    """
    total = model.config.num_hidden_layers
    if count > total:
        raise UserError(f"recipe field student.layers: got {count}, but the model has {total} layers.")
    stack = getattr(model.get_decoder(), "layers", None)
    if not isinstance(stack, torch.nn.ModuleList) or len(stack) != total:
        raise UserError(
            f"recipe field student.layers: layers of {type(model).__name__} cannot be left out; take a model of the "
            "Llama family, or set it to null."
        )
    kept = [round(at * (total - 1) / max(1, count - 1)) for at in range(count)]
    model.get_decoder().layers = torch.nn.ModuleList(stack[at] for at in kept)
    for place, layer in enumerate(model.get_decoder().layers):
        layer.self_attn.layer_idx = place  # its place in the key-value cache
    model.config.num_hidden_layers = count
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[at] for at in kept]
