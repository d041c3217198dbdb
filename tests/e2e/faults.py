"""Random kills of an ingest's driver and workers, and what must hold afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lance

from kard_ray.knowledge.idset import IdSet
from tests.e2e.world import World, running, sessions_in, succeed, workers, write_jsonl

DOCUMENTS = 4000
FILES = 4
UNITS = 4
WORKERS = (b"ray::MapWorker(Map(FragmentWriter))", b"ray::Map(", b"ray::MapBatches")


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Who was killed, and when: seconds after the command started."""

    target: Literal["driver", "worker"]
    seconds: float
    phase: str  # what was on disk then


def write_corpus(folder: Path) -> IdSet:
    """A corpus of FILES files with every tenth document twice; returns the ids that must be there in the end."""
    ids = [f"p{at:05}" for at in range(DOCUMENTS)]
    for part in range(FILES):
        rows = [
            {"id": i, "title": i, "text": f"Number {i} lies on the Esk, near the town of {i[::-1]}."}
            for i in ids[part::FILES]
        ]
        write_jsonl(folder / f"part{part}.jsonl", [*rows, *rows[::10]])
    return IdSet.of(ids)


def command(world: World, corpus: Path, run: Path) -> tuple[str | Path, ...]:
    """The build; small batches, so that there is time to kill it."""
    return (
        "knowledge", world.recipe, "--run-dir", run, "--set", f"knowledge.corpus.path={corpus}/*.jsonl",
        "--set", "knowledge.workers=2", "--set", "knowledge.embedder_batch=1",
    )  # fmt: skip


def build_with_one_kill(world: World, corpus: Path, run: Path, seed: int, *, log: Path,
    target: Literal["driver", "worker"] | None = None,
) -> Kill | None:  # fmt: skip
    """Start the build, kill ``target`` (None: driver or worker) at a random moment, and let the build end.

    Returns None when the build was over before.
    """
    rng = random.Random(seed)
    target = target or rng.choice(("driver", "worker"))
    # Shards and units on disk: a moment that the machine's load does not move
    finished = rng.randint(0, FILES + UNITS)
    delay = rng.uniform(0.0, 2.0)  # seconds after that: also into commit and indexes
    arguments = command(world, corpus, run)
    with running(*arguments, log=log) as (process, ray_folder):
        started = time.monotonic()
        due: float | None = None
        killed: Kill | None = None
        while process.poll() is None and killed is None:
            now = time.monotonic()
            if due is None and done(run) >= finished and sessions_in(ray_folder):
                due = now + delay
            if due is not None and now >= due:
                victims = [process.pid] if target == "driver" else workers(ray_folder, WORKERS)
                if victims:
                    killed = Kill(target=target, seconds=round(now - started, 1), phase=phase(run))
                    os.kill(rng.choice(victims), signal.SIGKILL)
            time.sleep(0.02)
        if target == "worker" or killed is None:
            assert process.wait(timeout=300) == 0, log.read_text()[-6000:]
    if target == "driver" and killed is not None:
        succeed(*arguments)
    return killed


def done(run: Path) -> int:
    """Shards read and units written, as far as their records are there (they go at the end)."""
    if list(run.glob("knowledge/*/settings.json")):
        return FILES + UNITS
    return len(list(run.glob("knowledge/*/_parts/*/*.json")))


def phase(run: Path) -> str:
    """What is on disk."""
    if list(run.glob("knowledge/*/versions/*.json")):
        return "tagged"
    if list(run.glob("knowledge/*/passages.lance/_versions/*")):
        return "committed"
    written = len(list(run.glob("knowledge/*/_parts/written/*.json")))
    read = len(list(run.glob("knowledge/*/_parts/read/*.json")))
    return f"{read} shards read, {written} units written"


def final_ids(run: Path) -> IdSet:
    """The ids in the table, each row counted."""
    (uri,) = run.glob("knowledge/*/passages.lance")
    found = IdSet()
    for batch in lance.dataset(str(uri)).to_batches(columns=["passage_id"]):
        found = found.plus(IdSet.of(batch["passage_id"].to_pylist()))
    return found
