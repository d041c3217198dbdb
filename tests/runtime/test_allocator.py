"""What a process that starts with the allocator's environment computes with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from kard_ray.runtime import allocator as module
from kard_ray.runtime.allocator import allocator, bundled_allocator

_HAS = "print('libjemalloc' in open('/proc/self/maps').read())"
# 1 GiB in neighbouring blocks becomes free extents of hundreds of MiB; blocks of half a MiB are asked for then.
_FILL_FREE_FILL = """
import torch, resource
blocks = [torch.ones(4 << 20) for _ in range(64)]
del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
blocks = [torch.ones(1 << 17) for _ in range(1024)]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.fixture(autouse=True)
def nothing_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)


@pytest.mark.skipif(bundled_allocator() is None, reason="this Ray wheel has no jemalloc")
def test_a_process_starts_with_jemalloc_and_takes_its_settings() -> None:
    """jemalloc tells on stderr of settings that it does not know."""
    ran = subprocess.run(
        [sys.executable, "-c", _HAS],
        env=os.environ | allocator(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "True"
    assert ran.stderr == ""


@pytest.mark.skipif(bundled_allocator() is None, reason="this Ray wheel has no jemalloc")
def test_what_is_freed_serves_smaller_tensors() -> None:
    """A trainer of changing lengths grew by 1 GiB a step: large free extents were kept and never cut."""
    ran = subprocess.run(
        [sys.executable, "-c", _FILL_FREE_FILL],
        env=os.environ | allocator() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stdout) < 128, "MiB more for 512 MiB of tensors, with 1 GiB free"


def test_what_is_preloaded_already_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "libjemalloc.so"
    monkeypatch.setattr(module, "bundled_allocator", lambda: library)
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libiomp5.so")
    assert allocator()["LD_PRELOAD"] == f"{library}:/usr/lib/libiomp5.so"
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libtcmalloc_minimal.so.4")
    assert allocator() == {}


def test_without_jemalloc_glibc_keeps_what_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "bundled_allocator", lambda: None)
    assert set(allocator()) == {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.skipif(bundled_allocator() is None, reason="this Ray wheel has no jemalloc")
def test_a_ray_worker_starts_with_it() -> None:
    @ray.remote(num_cpus=0, runtime_env={"env_vars": allocator()})
    def maps() -> str:
        return Path("/proc/self/maps").read_text()

    assert "libjemalloc" in ray.get(maps.remote())
