"""The job scripts on a cluster of their own: ``ray start --head`` with token authentication, ``ray job submit``."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Finished
from tests.e2e.world import (
    BIN,
    REPOSITORY,
    World,
    copy_run,
    environment,
    left_in,
    only,
    ray_folder,
    wait_until,
)

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.timeout(900)]

RAY = str(BIN / "ray")


@dataclass(frozen=True)
class Cluster:
    """A running head: where jobs are submitted, and what a client needs in its environment."""

    address: str
    env: dict[str, str]
    folder: Path

    def submit(self, *entry_point: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                RAY,
                "job",
                "submit",
                "--address",
                self.address,
                "--working-dir",
                ".",
                "--",
                *map(str, entry_point),
            ],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=REPOSITORY,
            env=self.env,
        )


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    log = tmp_path_factory.mktemp("head") / "log"
    with ray_folder() as folder, log.open("wb") as sink:
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        env = environment(folder, RAY_AUTH_MODE="token")
        gcs, dashboard, agent, client = free_ports(4)
        head = subprocess.Popen(
            [
                RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=3",
                f"--port={gcs}", f"--dashboard-port={dashboard}", "--include-dashboard=true",
                f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}",
                f"--object-store-memory={300 << 20}", f"--temp-dir={folder / 'ray'}",
            ],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env, cwd=folder,
        )  # fmt: skip
        address = f"http://127.0.0.1:{dashboard}"

        def answers() -> bool:
            assert head.poll() is None, log.read_text()[-4000:]
            request = urllib.request.Request(
                f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token.read_text()}"}
            )
            try:
                with urllib.request.urlopen(request, timeout=5) as reply:
                    return bool(reply.status == 200)
            except (OSError, urllib.error.URLError):
                return False

        try:
            wait_until(answers, seconds=120, what=f"the head's dashboard answers: {log.read_text()[-2000:]}")
            yield Cluster(address, env, folder)
        finally:
            head.terminate()  # `ray start --block` ends the processes that it started, and only those
            head.wait(timeout=60)
            for pid in left_in(folder):  # Ray's agents would wait half a minute for the head that is gone
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_strangers_cannot_submit_jobs(cluster: Cluster) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cluster.address}/api/jobs/", timeout=30)
    assert refused.value.code in (401, 403)


def test_a_job_runs_what_is_left_of_the_pipeline(
    cluster: Cluster, world: World, finished: Finished, tmp_path: Path
) -> None:
    done_before = ("benchmark", "knowledge", "rationales", "silver")
    run = copy_run(finished.folder, tmp_path / "run", *done_before)
    done = cluster.submit(
        "python", "jobs/pipeline.py", "--recipe", world.recipe, "--run-dir", run,
        "--set", "student.methods=[kard]", "--set", f"student.model={world.llama}", "--set", "student.epochs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    for label in done_before:
        assert f"[kard-ray] {label}: finished before, skipped" in done.stdout, done.stdout[-6000:]
    for label in ("train/kard", "predict/kard", "report"):
        assert f"[kard-ray] {label}: done in" in done.stdout, done.stdout[-6000:]
        only(run, label)
    records = json.loads((run / "report" / "results.json").read_text())
    assert [(r["method"], r["passages"], r["n"]) for r in records] == [
        ("kard", "bm25", 8),
        ("kard", "silver", 8),
    ]


def test_a_stage_can_be_a_job_of_its_own_and_the_upload_leaves_out_what_git_ignores(
    cluster: Cluster, world: World, tmp_path: Path
) -> None:
    done = cluster.submit("python", "jobs/benchmark.py", "--recipe", world.recipe, "--run-dir", tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert only(tmp_path, "benchmark")["rows"] == {"questions": 20}
    assert not (tmp_path / "knowledge").exists()
    uploads = list(cluster.folder.glob("ray/session_2*/runtime_resources/working_dir_files/_ray_pkg_*/"))
    assert uploads
    for upload in uploads:
        assert (upload / "jobs" / "benchmark.py").is_file()
        assert not {".venv", "runs"} & {path.name for path in upload.iterdir()}


def test_a_bad_recipe_fails_the_job_with_a_sentence(cluster: Cluster, world: World, tmp_path: Path) -> None:
    done = cluster.submit(
        "python", "jobs/pipeline.py", "--recipe", world.recipe, "--run-dir", tmp_path / "run",
        "--set", "student.epoch=2",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"kard-ray: recipe {world.recipe}, field student.epoch: there is no such field" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "run").exists()
