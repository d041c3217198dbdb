"""The Ray session of one process: connect to a cluster, or start a local one that dies with its driver.

What happens to a local cluster when its driver gets SIGKILL (Ray 2.60, Linux, measured): the GCS, raylet,
log monitor and dashboard die at once (the kernel's parent-death signal), workers and the processes they
started after 1.5 s, but Ray's two agents (DashboardAgent, RuntimeEnvAgent) wait 60 s for the dead GCS.
So :func:`start_ray` also starts a small watcher process that ends, 5 s after the driver, what is left: the
agents, and any stray process of a worker, such as a vLLM engine. It knows them by the log files of this very
cluster, which they hold open for writing since the raylet or a worker started them; never by a name. Other
clusters, other drivers and somebody who only reads a log are safe. Where there is no ``/proc`` there is no
watcher, and Ray's own clean-up stays alone.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

logger = logging.getLogger(__name__)

# For every worker of a run. Tensors are tens of MB: by default glibc maps each one anew, and the page faults made
# training slower than memory that is kept (533 against 710 tokens/s, beside other load). Trainers and engines on CPUs
# start with another allocator (runtime/allocator.py).
WORKER_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",  # bars of libraries inside workers; the driver shows the stage's own progress
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
# For a local cluster: nobody takes away its only node, so a training needs no actor that looks out for that.
_LOCAL_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
_GRACE_SECONDS = 5.0  # what Ray gets to clean up after itself
_watcher: subprocess.Popen[bytes] | None = None


class ClusterConfig(Frozen):
    """Which Ray cluster a run uses."""

    address: str | None = None  # None: RAY_ADDRESS (set inside a ray job), else a local cluster
    num_cpus: int | None = Field(None, ge=1)  # CPUs a local cluster declares; None: those of the machine
    object_store_mb: int = Field(500, ge=100)  # object store of a local cluster, MiB
    dashboard: bool = False  # dashboard of a local cluster; ray job submit needs it


def start_ray(config: ClusterConfig, environment: Mapping[str, str] | None = None) -> None:
    """Connect this process to Ray, with token authentication; does nothing if it is connected already.

    ``environment`` is for the processes of this driver's work, beside WORKER_ENVIRONMENT.

    A running cluster (``config.address``, else RAY_ADDRESS) is joined with its own resources. Otherwise a
    local cluster starts that ends with this process, however it ends; one that happens to run on this
    machine is never joined unasked. Raises UserError if the configuration contradicts itself, the cluster
    cannot be reached, or the token file cannot be protected.
    """
    import ray

    if ray.is_initialized():
        logger.info("this process is already connected to Ray")
        return
    # Ray starts its processes by fork and exec at once: no lancedb call is made in between.
    warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message="lance is not fork-safe", category=UserWarning)
    if config.address is not None and config.num_cpus is not None:
        raise UserError(
            f"cluster.num_cpus: got {config.num_cpus} beside cluster.address {config.address!r}, but a "
            "running cluster has its own number of CPUs: remove one of the two."
        )
    more = {**WORKER_ENVIRONMENT, **(environment or {})}
    address = _address(config)
    if address is None:
        _start_local(config, more)
    else:
        _connect(address, more)
    _configure_progress()


def starts_its_own(config: ClusterConfig) -> bool:
    """Whether :func:`start_ray` starts a cluster, which then ends with this process."""
    return _address(config) is None


def _address(config: ClusterConfig) -> str | None:
    address = config.address or os.environ.get("RAY_ADDRESS")
    return None if address == "local" else address


def stop_ray() -> None:
    """Disconnect from Ray; a local cluster that this process started is gone when this returns."""
    import ray

    global _watcher
    ray.shutdown()
    if _watcher is not None:
        watcher, _watcher = _watcher, None
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()


@contextmanager
def ray_session(config: ClusterConfig) -> Iterator[None]:
    """A Ray session for the length of a ``with`` block; one that was already there is left running."""
    import ray

    mine = not ray.is_initialized()
    try:
        start_ray(config)
        yield
    finally:
        if mine:
            stop_ray()


def token_path() -> Path:
    """Where Ray reads the authentication token: RAY_AUTH_TOKEN_PATH, else ``~/.ray/auth_token``."""
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def ensure_token() -> None:
    """Make sure that there is a token only its owner can read (mode 0600), and switch to token mode.

    Ray itself writes the file readable for everybody. An explicit RAY_AUTH_MODE and RAY_AUTH_TOKEN are
    respected. Raises UserError if the file cannot be written or protected.
    """
    if "RAY_AUTH_TOKEN" not in os.environ:
        path = token_path()
        try:
            _create_token(path)
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(0o600)
        except OSError as error:
            raise UserError(
                f"{path}: Ray's token cannot be kept private ({error.strerror}), expected a file of yours "
                "with mode 0600: mend it or set RAY_AUTH_TOKEN_PATH."
            ) from error
    _use_token_mode()


def _create_token(path: Path) -> None:
    """Write a fresh token (256 bits, as Ray's own) unless there is one; never half-written or replaced."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, part = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        os.link(part, path)
    except FileExistsError:
        logger.info("another process wrote %s first", path)
    finally:
        Path(part).unlink()


def _use_token_mode() -> None:
    """Set RAY_AUTH_MODE=token unless the user chose a mode."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    # Ray reads the mode once, at import: without this the driver would not present the token that its own
    # GCS asks for, and ray.init would wait for it in vain.
    from ray._raylet import Config  # type: ignore[attr-defined]

    Config.initialize("")


def _start_local(config: ClusterConfig, environment: Mapping[str, str]) -> None:
    import ray

    ensure_token()
    with _in_environment({**_LOCAL_ENVIRONMENT, **environment}):
        context: Any = ray.init(
            address="local",
            # One more than cores: heavy actors hold all cores, and what renders and writes their rows must still run.
            num_cpus=config.num_cpus or len(os.sched_getaffinity(0)) + 1,
            object_store_memory=config.object_store_mb << 20,
            include_dashboard=config.dashboard,
            logging_level=logging.WARNING,
            log_to_driver=True,
        )
    _start_watcher(Path(context.address_info["session_dir"]))


@contextmanager
def _in_environment(more: Mapping[str, str]) -> Iterator[None]:
    """``more`` in this process's environment, for a cluster started meanwhile: all of its workers inherit it.

    In a runtime_env it would cost the start of one process more for each worker, and no idle one could be used.
    """
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _connect(address: str, environment: Mapping[str, str]) -> None:
    import ray

    if "RAY_AUTH_TOKEN" in os.environ or token_path().exists():
        ensure_token()
    try:
        _require_listener(address)
        ray.init(
            address=address,
            logging_level=logging.WARNING,
            log_to_driver=True,
            runtime_env={"env_vars": environment},
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Ray cluster {address!r}: cannot connect ({str(error).splitlines()[0]}): check that it runs, "
            "that the address is right, and that this machine has its token."
        ) from error


def _require_listener(address: str) -> None:
    """Raise OSError at once if nothing listens at host:port; Ray itself would wait for minutes."""
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _configure_progress() -> None:
    """One bar per data set; without a terminal, Ray Data logs a line every 10 s in its place."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_operator_progress_bars = False
    context.execution_options.verbose_progress = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []  # they advise on sizing in the middle of the stage's progress
    # They tell, once per process, about the settings above.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.WARNING)


# --- the watcher


def _start_watcher(session_dir: Path) -> None:
    """Start the process that cleans up after this one, out of reach of signals to this process's group."""
    global _watcher  # noqa: PLW0603 - a process has one Ray session
    if sys.platform != "linux":
        return
    with (session_dir / "logs" / "kard_ray_watcher.log").open("wb") as log:
        _watcher = subprocess.Popen(
            [sys.executable, "-m", "kard_ray.runtime.session", str(os.getpid()), str(session_dir)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )


def _watch(driver: int, session_dir: Path) -> None:
    """Wait until ``driver``, the parent, is gone or closes the pipe; then end what is left of the cluster."""
    while os.getppid() == driver:
        if select.select([sys.stdin], [], [], 0.5)[0]:
            break
    deadline = time.monotonic() + _GRACE_SECONDS
    while left := processes_of(session_dir):
        if time.monotonic() > deadline:
            for pid in left:
                print(f"ending {pid}", flush=True)
                _kill(pid)
        time.sleep(0.1)


def processes_of(session_dir: Path) -> list[int]:
    """Ids of the processes that the raylet of this session, or one of its workers, has started.

    They are those that hold ``logs/raylet.*`` or ``logs/worker-*`` open for writing. Linux only.
    """
    prefixes = tuple(f"{session_dir.resolve()}/logs/{name}" for name in ("raylet.", "worker-"))
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _writes_to(p, prefixes)]


def _writes_to(process: Path, prefixes: tuple[str, ...]) -> bool:
    try:
        for link in (process / "fd").iterdir():
            writable = link.lstat().st_mode & stat.S_IWUSR
            if writable and str(link.readlink()).startswith(prefixes):
                return True
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or is another user's
        return False
    return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it ended by itself
        return


if __name__ == "__main__":
    _watch(int(sys.argv[1]), Path(sys.argv[2]))
