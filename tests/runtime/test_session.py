from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from kard_ray.runtime import session
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.session import ClusterConfig, ensure_token, processes_of, start_ray

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the token, in token mode, with nothing there yet."""
    path = tmp_path / ".ray" / "auth_token"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    return path


def test_a_fresh_token_is_private_and_kept(token: Path) -> None:
    ensure_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    first = token.read_text()
    assert len(first) == 64
    ensure_token()
    assert token.read_text() == first
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_a_token_that_others_can_read_is_closed(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("as Ray writes it")
    token.chmod(0o644)
    ensure_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == "as Ray writes it"


def test_a_token_that_cannot_be_written_is_told(token: Path) -> None:
    token.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="Ray's token cannot be kept private"):
        ensure_token()


def test_cpus_are_not_declared_to_a_running_cluster() -> None:
    with pytest.raises(UserError, match=r"cluster.num_cpus: got 4 beside cluster.address 'host:6379'"):
        start_ray(ClusterConfig(address="host:6379", num_cpus=4))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        ClusterConfig.model_validate({"cpus": 4})
    with pytest.raises(ValidationError):
        ClusterConfig(num_cpus=0)


@linux
def test_only_writers_of_the_sessions_own_logs_are_its_processes(tmp_path: Path) -> None:
    logs = tmp_path / "session_1" / "logs"
    logs.mkdir(parents=True)
    (logs / "driver.log").touch()
    (logs / "worker-1.out").touch()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with contextlib.ExitStack() as stack:
        worker_out = stack.enter_context((logs / "worker-1.out").open("a"))
        reader = stack.enter_context((logs / "worker-1.out").open())
        driver_log = stack.enter_context((logs / "driver.log").open("a"))
        mine = subprocess.Popen(sleep, stdout=worker_out)
        others = [subprocess.Popen(sleep, stdin=reader), subprocess.Popen(sleep, stdout=driver_log)]
        worker_out.close()
        try:
            assert processes_of(tmp_path / "session_1") == [mine.pid]
            assert processes_of(tmp_path / "session_2") == []
        finally:
            for process in (mine, *others):
                process.kill()
                process.wait()


@linux
def test_the_watcher_ends_what_is_left_when_its_pipe_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    with (logs / "worker-1.out").open("a") as out:
        stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=out)
    monkeypatch.setattr(session, "_watcher", None)
    session._start_watcher(tmp_path)
    assert session._watcher is not None
    assert session._watcher.stdin is not None
    session._watcher.stdin.close()
    assert stray.wait(timeout=15) == -signal.SIGKILL
    assert session._watcher.wait(timeout=15) == 0
    assert (logs / "kard_ray_watcher.log").read_text().startswith(f"ending {stray.pid}\n")


# A driver whose worker has started a process of its own; it prints its session folder.
DRIVER = """
import subprocess, sys, time
import ray
from kard_ray.runtime.session import ClusterConfig, ray_session

with ray_session(ClusterConfig(num_cpus=1, object_store_mb=100)):
    @ray.remote
    class Engine:
        def start(self):
            return subprocess.Popen(["sleep", "600"], start_new_session=True).pid

    engine = Engine.remote()
    child = ray.get(engine.start.remote())
    dataset = ray.data.range(10)
    assert dataset.count() == 10
    print(ray._private.worker._global_node.get_session_dir_path(), child, flush=True)
    if "stay" in sys.argv:
        time.sleep(600)
print("stopped", flush=True)
"""


def start_driver(home: Path, *arguments: str) -> tuple[subprocess.Popen[str], Path, int]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert driver.stdout is not None
    folder, child = driver.stdout.readline().split()
    return driver, Path(folder), int(child)


@linux
@pytest.mark.ray
@pytest.mark.timeout(120)
def test_nothing_outlives_a_driver_killed_by_sigkill(tmp_path: Path) -> None:
    driver, folder, child = start_driver(tmp_path, "stay")
    processes = [*processes_of(folder), *children_of(driver.pid)]
    assert child in processes
    assert len(processes) >= 5
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 15
    while left := [process for process in processes if alive(process)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@linux
@pytest.mark.ray
@pytest.mark.timeout(120)
def test_nothing_outlives_a_session_that_ends(tmp_path: Path) -> None:
    driver, folder, child = start_driver(tmp_path)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "stopped\n"
    assert processes_of(folder) == []
    assert not alive(child)
    assert driver.wait(timeout=30) == 0
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600


@pytest.mark.timeout(60)
def test_a_cluster_that_does_not_answer_is_told_in_a_sentence(tmp_path: Path) -> None:
    code = """
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.session import ClusterConfig, start_ray
try:
    start_ray(ClusterConfig(address="127.0.0.1:1"))
except UserError as error:
    print(error)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.startswith("Ray cluster '127.0.0.1:1': cannot connect (")


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children_of(process: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(process).children(recursive=True)]
