"""SIGKILL in the middle of a stage: the same command goes on, and no row is lost, doubled or made twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.conftest import Finished
from tests.e2e.world import (
    STEPS,
    TEST,
    TRAIN,
    World,
    copy_run,
    kill_when,
    manifests,
    only,
    running,
    succeed,
    wait_until,
    workers,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def journals(run: Path) -> list[Path]:
    return sorted(run.glob("ledger/replies/*.jsonl"))


def has_written(run: Path) -> bool:
    """Whether a whole line stands in a journal: a file is there before its first line."""
    return any(b"\n" in path.read_bytes() for path in journals(run))


def mark_finished_texts(found: list[Path]) -> dict[str, str]:
    """Write a mark into every reply and return it by rationale: a text that was written anew would not have it."""
    marks = {}
    for path in found:
        rows = [
            json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
        ]
        for row in rows:
            name = f"{row['item_id']}#{row['sample']}"
            marks[name] = row["generated_text"] = f"kept from before: {name}"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return marks


@pytest.mark.engine
def test_the_teacher_never_writes_a_finished_rationale_again_though_driver_and_engine_die(
    finished: Finished, world: World, tmp_path: Path
) -> None:
    run = copy_run(finished.folder, tmp_path / "run", "benchmark", "knowledge")
    samples = 2
    expected = {f"q{at}#{sample}" for at in range(TRAIN) for sample in range(samples)}
    expected |= {f"q{at}#0" for at in range(TRAIN, TRAIN + TEST)}
    command = ("rationales", world.recipe, "--run-dir", run, "--set", f"teacher.samples={samples}")
    command += ("--set", "teacher.sampling.max_tokens=80")
    command += ("--set", "teacher.engine.max_sequences=2", "--set", "teacher.engine.batch_rows=2")
    kill_when(lambda: has_written(run), *command, log=tmp_path / "log")
    assert manifests(run, "rationales") == []

    marks = mark_finished_texts(journals(run))
    assert 0 < len(marks) < len(expected)
    before = set(journals(run))
    with running(*command, log=tmp_path / "second") as (process, ray_folder):
        # The engine of the second run dies too, in the middle: Ray starts another one, and the run goes on.
        wait_until(
            lambda: set(journals(run)) - before and workers(ray_folder, (b"VLLM::EngineCore",)),
            seconds=240,
            what="the second run's engine has written something",
        )
        os.kill(workers(ray_folder, (b"VLLM::EngineCore",))[0], signal.SIGKILL)
        assert process.wait(timeout=300) == 0, (tmp_path / "second").read_text()[-6000:]
    kept = f"rationales: {len(marks)} of {len(expected)} texts were written before and are kept"
    assert kept in (tmp_path / "second").read_text()

    manifest = only(run, "rationales")
    table = pq.read_table(manifest["folder"] / "rationales.parquet")
    rationales = dict(zip(table["rationale_id"].to_pylist(), table["rationale"].to_pylist(), strict=True))
    assert table.num_rows == len(rationales)
    assert rationales.keys() == expected
    assert {i: text for i, text in rationales.items() if text.startswith("kept from before")} == marks


# A checkpoint at each step changes nothing in the outcome.
EACH_STEP = ("--set", "student.checkpoint_seconds=0")


def train_command(world: World, run: Path) -> tuple[str | Path, ...]:
    return ("train", world.recipe, "--run-dir", run, "--set", "student.methods=[kard]")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(only(run, "train/kard")["folder"] / "model" / "model.safetensors")


def assert_same_weights(run: Path, other: Path) -> None:
    mine, theirs = weights(run), weights(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name].dtype == torch.float32
        torch.testing.assert_close(mine[name], theirs[name], atol=1e-4, rtol=0, msg=name)


def assert_same_curve(run: Path, other: Path) -> None:
    """Every step once, with the loss of a run that nothing disturbed."""
    mine, theirs = (
        pq.read_table(only(folder, "train/kard")["folder"] / "curve.parquet").to_pydict()
        for folder in (run, other)
    )
    assert mine["step"] == theirs["step"] == list(range(1, STEPS + 1))
    assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-4)


def checkpoint_registered(run: Path) -> Callable[[], bool]:
    """Whether Ray Train has written down a checkpoint that a later run finds."""

    def look() -> bool:
        return any(
            "checkpoint_" in path.read_text()
            for path in run.glob("train/kard/*/_parts/train/checkpoint_manager_snapshot.json")
        )

    return look


@pytest.fixture(scope="module")
def prepared(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Run directories with everything that training reads."""
    folder = tmp_path_factory.mktemp("runs")
    return lambda name: copy_run(
        finished.folder, folder / name, "benchmark", "knowledge", "rationales", "silver"
    )


def test_training_goes_on_from_its_last_checkpoint_to_the_same_weights(
    prepared: Callable[[str], Path], finished: Finished, world: World, tmp_path: Path
) -> None:
    run = prepared("killed")
    command = train_command(world, run)
    kill_when(checkpoint_registered(run), *command, *EACH_STEP, log=tmp_path / "log")
    assert manifests(run, "train/kard") == []
    succeed(*command)
    counts = only(run, "train/kard")["counts"]
    assert counts["steps"] == STEPS
    assert 0 < counts["resumed_at_step"] < STEPS
    assert only(finished.folder, "train/kard")["counts"]["resumed_at_step"] == 0
    assert_same_weights(run, finished.folder)
    assert_same_curve(run, finished.folder)
    assert not list(run.glob("train/kard/*/_parts"))


def test_training_survives_the_death_of_its_worker(
    prepared: Callable[[str], Path], finished: Finished, world: World, tmp_path: Path
) -> None:
    run, log = prepared("worker"), tmp_path / "log"
    with running(*train_command(world, run), *EACH_STEP, log=log) as (process, ray_folder):
        wait_until(checkpoint_registered(run), seconds=240, what="a checkpoint was registered")
        (worker,) = workers(ray_folder, (b"ray::RayTrainWorker",))
        os.kill(worker, signal.SIGKILL)
        assert process.wait(timeout=300) == 0, log.read_text()[-6000:]
    assert 0 < only(run, "train/kard")["counts"]["resumed_at_step"] < STEPS, log.read_text()[-6000:]
    assert_same_weights(run, finished.folder)
    assert_same_curve(run, finished.folder)
