"""What is done in an engine's process before it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# arch_prctl(ARCH_GET_XCOMP_PERM): which of the processor's states a process may use; bit 18 are AMX's tiles.
_MAY_USE_TILES = """
import ctypes, sys
if "import" in sys.argv:
    import kard_ray.runtime.engine_process
states = ctypes.c_ulong()
assert ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(states)) == 0
print(states.value >> 18 & 1)
"""


def _may_use_tiles(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", _MAY_USE_TILES, *arguments], capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def _has_amx() -> bool:
    told = Path("/proc/cpuinfo")
    return told.is_file() and " amx_tile" in told.read_text()


@pytest.mark.skipif(not _has_amx(), reason="this machine's processor has no AMX")
def test_the_processor_s_tiles_are_asked_for() -> None:
    """Without, an engine of a small model died of SIGILL at its first prompt."""
    assert _may_use_tiles() == "0"
    assert _may_use_tiles("import") == "1"
