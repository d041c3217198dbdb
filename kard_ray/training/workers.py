"""What every training worker needs, whatever it trains: seeds, agreement, quiet logs."""

from __future__ import annotations

import hashlib
import logging

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train.v2._internal.execution import context as reports


def quiet_reports() -> None:
    """Ray Train's workers repeat every report, which progress shows already; the logger is named after its file."""
    logging.getLogger(reports.__file__).setLevel(logging.WARNING)


def read_table(url: str) -> pa.Table:
    """The Parquet file at ``url``."""
    fs, path = fsspec.core.url_to_fs(url)
    with fs.open(path, "rb") as source:
        return pq.read_table(source)


def step_seed(seed: int, step: int, worker: int) -> int:
    """What ``worker`` draws from at ``step``: the same after a resume, another one elsewhere. From 0 to 2**63 - 1."""
    digest = hashlib.sha256(f"{seed}/{step}/{worker}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes no more than 64 bits


def agreed(wish: int, world: int) -> int:
    """Worker 0's wish, on all workers: Ray Train waits until every worker has reported."""
    if world == 1:
        return wish
    flag = torch.tensor([wish], device=ray.train.torch.get_device())
    dist.broadcast(flag, src=0)
    return int(flag.item())
