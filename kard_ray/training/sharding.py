"""Workers that train one model together: every one with all weights (DDP), or each with a part of them (FSDP).

Both average gradients over workers, and both write checkpoints of whole tensors: a training goes on from a checkpoint
with another number of workers, or the other way of sharing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def share(model: Any, sharding: Literal["ddp", "fsdp"], world: int) -> Any:
    """What to train in place of ``model``, which is on its device; itself for one worker."""
    if world == 1:
        return model
    import ray.train.torch

    if sharding == "ddp":
        return ray.train.torch.prepare_model(model, move_to_device=False)
    mesh = init_device_mesh(ray.train.torch.get_device().type, (world,))
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    blocks = set(base._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def exchange_gradients(shared: Any, now: bool) -> None:
    """Whether the next backward pass exchanges gradients; call it before the forward pass."""
    if isinstance(shared, torch.nn.parallel.DistributedDataParallel):
        shared.require_backward_grad_sync = now
    elif hasattr(shared, "set_requires_gradient_sync"):
        shared.set_requires_gradient_sync(now)


def whole(tensor: Tensor) -> Tensor:
    """``tensor`` with the parts of all workers, who must all ask; one that is not divided, as it is."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def divided_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Inverse of :func:`whole`: this worker's part of ``tensor``, divided as ``like`` is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every worker the sum of all workers' gradients, in one exchange; a parameter without one counts as zeros.

    For models of a few hundred MB: it asks nothing of the forward pass, and begins when the backward pass is over.
    """
    trained = [p for p in parameters if p.requires_grad]
    flat = torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).float().flatten() for p in trained]
    )
    dist.all_reduce(flat)
    for parameter, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype)
