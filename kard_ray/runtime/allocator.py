"""The memory allocator of processes that compute with torch on a CPU.

A step's tensors are tens of MB, of hundreds of sizes. glibc maps each of them anew, page by page, or, told to keep what
is freed, searches its list for a size: 17 % of a student's training was spent in ``_int_malloc`` (perf). jemalloc keeps
lists by size, and lies in Ray's wheels for Linux (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ray

# Freed memory is kept: given back after jemalloc's ten seconds, an engine's batch took 5.8 s in place of 4.1. Large
# blocks have an arena of their own that gives back at once, unless the threshold says that none is large (0). Free
# neighbours grow together, and what has grown beyond 64 times a request is not cut for it, unless told (2^40 times): a
# trainer of rows of 200 to 1,600 tokens was at 10 GiB after 7 steps and grew on; it stays at 5.6, a tenth faster.
_SETTINGS = "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1,lg_extent_max_active_fit:40"
_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc")


def bundled_allocator() -> Path | None:
    """The jemalloc that Ray brings, or None where its wheel has none."""
    path = Path(ray.__file__).parent / "core" / "libjemalloc.so"
    return path if sys.platform == "linux" and path.exists() else None


def allocator() -> dict[str, str]:
    """Environment of a process that is to start with jemalloc; of one that runs already it changes nothing.

    An allocator that LD_PRELOAD names already stays. Without jemalloc glibc is told to keep freed memory. On a node
    where Ray lies elsewhere than on the driver's, the loader says that there is no such library, and goes on without.
    """
    path = bundled_allocator()
    preloaded = os.environ.get("LD_PRELOAD", "")
    if any(name in preloaded for name in _ALLOCATORS):
        return {}
    if path is None:
        return {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
    return {"LD_PRELOAD": ":".join(filter(None, [str(path), preloaded])), "MALLOC_CONF": _SETTINGS}
