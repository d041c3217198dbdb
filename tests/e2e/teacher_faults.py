"""Random kills of the teacher's driver and workers, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tests.e2e.world import REPOSITORY, RIVERS, World, running, sessions_in, succeed, workers, write_jsonl
from tests.teacher.backends.endpoint_server import MODEL, Received, read_log, text_for

QUESTIONS, SAMPLES, CONCURRENCY = 400, 2, 16
WORKERS = (b"ray::MapWorker(MapBatches(Asking))", b"ray::MapWorker(MapBatches(Replayer))")
Teacher = Literal["endpoint", "recorded"]


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Who was killed, and what was in the ledger then."""

    target: Literal["driver", "worker"]
    written: int


@contextmanager
def server(folder: Path, *, latency: tuple[float, float] = (0.05, 0.25)) -> Iterator[tuple[str, Path]]:
    """An endpoint in a process of its own, which no kill reaches: its address, and the log of its requests."""
    log = folder / f"requests-{time.monotonic_ns()}.jsonl"
    command = [sys.executable, "-m", "tests.teacher.backends.endpoint_server", "--log", str(log)]
    process = subprocess.Popen(
        [*command, "--latency", *map(str, latency)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), log
    finally:
        process.kill()
        process.wait()


def write_questions(folder: Path) -> Path:
    """QUESTIONS questions that ask about made-up towns, in order of their ids."""
    rows = [
        {
            "id": f"q{n:04}",
            "question": f"On which river does town number {n} lie?",
            "options": list(RIVERS),
            "answer": n % len(RIVERS),
        }
        for n in range(QUESTIONS)
    ]
    return write_jsonl(folder / "questions.jsonl", rows)


def write_recording(folder: Path) -> Path:
    """A recorded teacher for those questions: every third of its rationales concludes with a wrong answer."""
    rows = []
    for n in range(QUESTIONS):
        texts = []
        for sample in range(SAMPLES):
            river = RIVERS[(n + ((n + sample) % 3 == 0)) % len(RIVERS)]
            texts.append(f"{text_for(f'{n}', sample, 0)} So the answer is {river}.")
        rows.append({"id": f"q{n:04}", "rationales": texts})
    return write_jsonl(folder / "recording.jsonl", rows)


def command(world: World, run: Path, questions: Path, backend: dict[str, object]) -> tuple[str | Path, ...]:
    """``kard-ray rationales`` with that teacher."""
    settings = {
        "benchmark.train": str(questions),
        "teacher.backend": backend,
        "teacher.model": MODEL,
        "teacher.samples": SAMPLES,
        "teacher.test_samples": 0,
        "teacher.grounding": "none",
        "teacher.filters": ["concludes"],
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return ("rationales", world.recipe, "--run-dir", run, *sets)


def endpoint(url: str) -> dict[str, object]:
    """The backend's settings for the server at ``url``."""
    return {"kind": "endpoint", "url": url, "key_env": None, "concurrency": CONCURRENCY}


def prepare(world: World, run: Path, questions: Path) -> None:
    """Everything that the stage reads."""
    for stage in ("benchmark", "knowledge"):
        succeed(stage, world.recipe, "--run-dir", run, "--set", f"benchmark.train={questions}")


def with_one_kill(arguments: Sequence[str | Path], run: Path, seed: int, log: Path) -> Kill | None:
    """Run the stage to its end, killing the driver or the teacher's worker once, at a random number of replies.

    A killed driver is started again when its cluster is gone; a killed worker is not. None: it was over before.
    """
    rng = random.Random(seed)
    target: Literal["driver", "worker"] = rng.choice(("driver", "worker"))
    due = rng.randint(0, QUESTIONS * SAMPLES - 1)
    killed: Kill | None = None
    with running(*arguments, log=log) as (process, ray_folder):
        while process.poll() is None and killed is None:
            count = written(run)
            victims = [process.pid] if target == "driver" else workers(ray_folder, WORKERS)
            if count >= due and victims and sessions_in(ray_folder):
                os.kill(rng.choice(victims), signal.SIGKILL)
                killed = Kill(target=target, written=count)
            time.sleep(0.005)
        if target == "worker" or killed is None:
            assert process.wait(timeout=300) == 0, log.read_text()[-6000:]
    if target == "driver" and killed is not None:
        succeed(*arguments)
    return killed


def written(run: Path) -> int:
    """Replies in the ledger's journals."""
    return sum(path.read_bytes().count(b"\n") for path in run.glob("ledger/replies/*.jsonl"))


def rationales(run: Path) -> pa.Table:
    """The stage's table."""
    (path,) = run.glob("rationales/*/rationales.parquet")
    return pq.read_table(path)


def repeated(log: Path) -> tuple[int, int]:
    """Different requests, and how often one was sent again."""
    seen: Counter[tuple[str, int | None]] = Counter()
    found: list[Received] = read_log(log)
    for row in found:
        seen[row.prompt, row.seed] += 1
    return len(seen), len(found) - len(seen)
