"""AdamW for bfloat16 weights: float32 master copies, warm-up and linear decay.

bfloat16 keeps 8 bits of a weight, so an update below 1/256 of it is lost; the master copy keeps it. Training
SmolLM2-135M so is meant to beat float32 weights under autocast on CPUs with bfloat16 (benchmarks/).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from kard_ray.training.sharding import divided_like, whole


class MasterAdamW:
    """AdamW over float32 copies of the trainable parameters; a float32 parameter is its own copy."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], *, lr: float, weight_decay: float) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_() for p in self.parameters
        ]
        self.adamw = torch.optim.AdamW(
            self.masters,
            lr=lr,
            weight_decay=weight_decay,
            fused=all(p.device.type in ("cpu", "cuda") for p in self.masters),
        )

    def step(self, *, lr: float, max_norm: float) -> float:
        """Apply the gradients with learning rate ``lr``, clipped to ``max_norm``; returns the norm before clipping."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if master is parameter:
                continue
            if parameter.grad is None:
                master.grad = None
                continue
            if master.grad is None:
                master.grad = torch.empty_like(master)
            master.grad.copy_(parameter.grad)  # 540 MB for 135M parameters: allocated once, not at each step
            parameter.grad = None
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.masters, max_norm)))
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        with torch.no_grad():
            for parameter, master in zip(self.parameters, self.masters, strict=True):
                if master is parameter:
                    parameter.grad = None
                else:
                    parameter.copy_(master)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs: AdamW's state and the trained weights, in float32 (frozen ones are not there).

        Sharded tensors are gathered, so all workers must take part, and any number of them can go on from it.
        """
        adamw = self.adamw.state_dict()
        moments = {
            at: {name: whole(value) for name, value in of.items()} for at, of in adamw["state"].items()
        }
        return {"adamw": adamw | {"state": moments}, "masters": [whole(master) for master in self.masters]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; the trainable parameters are set too."""
        with torch.no_grad():
            for parameter, master, saved in zip(self.parameters, self.masters, state["masters"], strict=True):
                master.copy_(divided_like(saved, master))
                if master is not parameter:
                    parameter.copy_(master)
        moments = {
            at: {
                name: divided_like(value, self.masters[at]) if value.dim() else value
                for name, value in of.items()
            }
            for at, of in state["adamw"]["state"].items()
        }
        self.adamw.load_state_dict(state["adamw"] | {"state": moments})

    def weights(self) -> list[torch.Tensor]:
        """A copy of the trained weights in main memory, as the model has them, gathered like the state."""
        return [whole(parameter).to("cpu", copy=True) for parameter in self.parameters]


def learning_rate(step: int, *, steps: int, peak: float, warmup_fraction: float) -> float:
    """Learning rate of ``step`` (from 0): linear warm-up over ``warmup_fraction`` of the steps, then linear to 0."""
    warmup = max(1, round(steps * warmup_fraction))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / max(1, steps - warmup)
