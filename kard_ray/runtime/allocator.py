"""The memory allocator of processes that compute with torch on a CPU.

A step's tensors are tens of MB, of hundreds of sizes. glibc maps each of them anew, page by page, or, told to keep what
is freed, searches its list for a size: 17 % of a student's training was spent in ``_int_malloc`` (perf). jemalloc keeps
lists by size, and lies in Ray's wheels for Linux. Two cores, other trainings beside it, tokens a second of CPU time:
glibc keeping memory 252, jemalloc as it is 263, never giving back 299, large blocks in the common arenas too 321, huge
pages 333; resident 6.3 GiB with glibc and 5.4 so (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ray

# Large blocks have an arena of their own that gives back at once what is freed, unless the threshold says never (0).
_KEPT = "oversize_threshold:0,thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1"
_AFTER_A_WHILE = "oversize_threshold:0,thp:always,dirty_decay_ms:10000,background_thread:true"
_OTHERS = ("jemalloc", "mimalloc", "tcmalloc")


def bundled_allocator() -> Path | None:
    """The jemalloc that Ray brings, or None where its wheel has none."""
    path = Path(ray.__file__).parent / "core" / "libjemalloc.so"
    return path if sys.platform == "linux" and path.exists() else None


def allocator(*, keep: bool) -> dict[str, str]:
    """Environment of a process that is to start with jemalloc; of one that runs already it changes nothing.

    ``keep``: freed memory is never given back, for a process that does one thing and ends; otherwise after 10 s. An
    allocator that LD_PRELOAD names already stays. Without jemalloc glibc is told to keep freed memory.
    """
    path = bundled_allocator()
    preloaded = os.environ.get("LD_PRELOAD", "")
    if any(name in preloaded for name in _OTHERS):
        return {}
    if path is None:
        return {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
    return {
        "LD_PRELOAD": ":".join(filter(None, [str(path), preloaded])),
        "MALLOC_CONF": _KEPT if keep else _AFTER_A_WHILE,
    }
