"""Faults of a training: which checkpoint a later attempt finds, and workers that die."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import ray

from kard_ray.runtime.artifacts import Artifact
from kard_ray.runtime.session import processes_of


def registered_step(artifact: Artifact) -> int:
    """The step of the last checkpoint that a later attempt finds."""
    parts = Path(artifact.at("_parts", "train"))
    try:
        names = re.findall(r"checkpoint_[\d_.-]+\d", (parts / "checkpoint_manager_snapshot.json").read_text())
        return pq.read_metadata(parts / max(names) / "curve.parquet").num_rows if names else 0
    except FileNotFoundError:  # none yet, or it was just replaced by the next one
        return 0


@contextmanager
def a_worker_dies(when: Callable[[], bool]) -> Iterator[list[int]]:
    """SIGKILL one of this cluster's training workers, by its id, once ``when()``; yields who was killed."""
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if when():
                for pid in processes_of(session):
                    if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayTrainWorker"):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                        return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
