"""An engine's processes end with the process that started them, however it ends.

vLLM's engine runs in a process of its own, and does not notice when the one that talks to it gets SIGKILL: it would
stay, with its memory, beside the engine of the replica that takes over. In each process of an engine
(:mod:`kard_ray.runtime.engine_process`) a thread waits for the end of the owner, whose id is in the environment. Linux
only (``pidfd_open``); elsewhere nothing is watched.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path

OWNER = "KARD_RAY_ENGINE_OWNER"  # environment: id of the process that started the engine


def own_engines() -> None:
    """Engines that this process starts from now on end with it."""
    os.environ[OWNER] = str(os.getpid())


def parent_of(pid: int) -> int:
    """Id of the parent of ``pid``; 0 when it is gone."""
    try:
        # "pid (name) state parent ...": the name may hold spaces and brackets
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _lineage(owner: int) -> list[int]:
    """The processes from this one up to a child of ``owner``; empty if that is no ancestor."""
    found = [os.getpid()]
    while (parent := parent_of(found[-1])) != owner:
        if parent <= 1:
            return []
        found.append(parent)
    return found


def _wait_and_end(owner: int, lineage: list[int]) -> None:
    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        descriptor = None  # it is gone already
    if descriptor is not None:
        select.select([descriptor], [], [])
    for pid in reversed(lineage):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def watch() -> None:
    """In a process of an engine: end with its owner, if it has one."""
    owner = int(os.environ.get(OWNER, "0"))
    if owner == 0 or owner == os.getpid() or not hasattr(os, "pidfd_open"):
        return
    lineage = _lineage(owner)
    if lineage:
        threading.Thread(
            target=_wait_and_end, args=(owner, lineage), name="engine-owner", daemon=True
        ).start()
