"""``kard-ray sweep`` with real students: trials side by side, killed and resumed, one of them a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.e2e.conftest import Finished
from tests.e2e.world import World, copy_run, kill_when, only, succeed

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.timeout(900)]

LAYERS = 9  # more than the tiny model has


def recipe_of_sweep(world: World, path: Path) -> Path:
    """The recipe's own values and a grid of two: one fails, since the model has two layers."""
    tree = yaml.safe_load(world.recipe.read_text())
    tree["student"] |= {
        "model": str(world.llama),
        "epochs": 1,
        "held_out": 0.3,
        "evaluations": 2,
        "max_failures": 0,
    }
    tree["cluster"] |= {"num_cpus": 4}
    tree["sweep"] = {
        "target": "kard",
        "search": "grid",
        "trials": 3,
        "grace": 0.75,
        "concurrency": 2,
        "space": {"student.layers": {"choice": [1, LAYERS]}},
    }
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def test_a_killed_sweep_goes_on_and_repeats_no_finished_trial(
    finished: Finished, world: World, tmp_path: Path
) -> None:
    run = copy_run(finished.folder, tmp_path / "run", "benchmark", "knowledge", "rationales", "silver")
    recipe = recipe_of_sweep(world, tmp_path / "sweep.yaml")
    command = ("sweep", recipe, "--run-dir", run)

    def records() -> dict[int, dict[str, object]]:
        found = (json.loads(path.read_text()) for path in run.glob("sweep/kard/*/trials/*.json"))
        return {record["number"]: record for record in found}

    def one_is_finished() -> bool:
        return any(record["state"] == "finished" for record in records().values())

    log = tmp_path / "log"
    kill_when(one_is_finished, *command, log=log, seconds=400)
    assert "trials: 2 side by side" in log.read_text()
    before = {number: record for number, record in records().items() if record["state"] == "finished"}
    assert before

    done = succeed(*command)
    after = records()
    assert before.items() <= after.items()
    for number in before:
        assert f"trial {number}: starts" not in done.err
    # Interrupted trials keep their numbers and values, and no values are tried twice.
    assert sorted(after) == [0, 1, 2]
    assert len({json.dumps(record["values"], sort_keys=True) for record in after.values()}) == len(after)
    failed = {number for number, record in after.items() if record["values"]["student.layers"] == LAYERS}
    assert {number for number, record in after.items() if record["state"] == "failed"} == failed
    assert failed
    for number in failed:
        assert after[number]["failures"] >= 2  # it was tried again
        assert after[number]["reason"] == "recipe field student.layers: got 9, but the model has 2 layers."

    folder = run / "sweep" / "kard"
    results = json.loads((folder / "trials.json").read_text())
    scores = {number: record["score"] for number, record in after.items() if record["state"] == "finished"}
    assert results["best"] == min(scores, key=lambda number: (scores[number], number))
    assert pq.read_table(folder / "trials.parquet").num_rows == len(after)
    assert "the model has 2 layers" in (folder / "report.html").read_text()

    # The best recipe is one that kard-ray run takes as it is, and its student is there already; other models are gone.
    values = after[results["best"]]["values"]
    assert only(run, "train/kard")["config"]["layers"] == values["student.layers"]
    assert not list(run.glob("sweep/kard/*/trials/*/"))
    plan = succeed("run", folder / "best.yaml", "--run-dir", run, "--dry-run")
    (line,) = (line for line in plan.out.splitlines() if "train/kard" in line)
    assert "skip: finished" in line
