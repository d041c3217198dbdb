"""The tiny world, and two undisturbed runs in it that several tests look at: made once for all test processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.e2e.world import Outcome, World, copy_run, make_world, succeed


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Outcome | World]
) -> Outcome | None:
    """Have ``make`` write the folder ``name`` in the test process that needs it first; others wait, and read."""
    folder = shared(factory, name)
    told = folder.with_suffix(".json")
    with FileLock(folder.with_suffix(".lock")):
        if not told.exists():
            assert not folder.exists(), f"{name} could not be made; the first test that needed it tells why"
            folder.mkdir()
            made = make(folder)
            told.write_text(json.dumps(asdict(made) if isinstance(made, Outcome) else None))
        found = json.loads(told.read_text())
        return Outcome(**found) if found else None


def shared(factory: pytest.TempPathFactory, name: str) -> Path:
    """A path that is the same in all test processes of this run."""
    mine = factory.getbasetemp()
    return (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / f"shared-{name}"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made_once(tmp_path_factory, "world", make_world)
    return World(shared(tmp_path_factory, "world"))


@dataclass(frozen=True)
class Finished:
    """A finished run: nobody writes into it; copy it to change something."""

    folder: Path
    outcome: Outcome


def finish(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Outcome]) -> Finished:
    outcome = made_once(factory, name, lambda folder: make(folder / "run"))
    assert outcome is not None
    return Finished(shared(factory, name) / "run", outcome)


@pytest.fixture(scope="session")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """``kard-ray run`` from questions to report: a teacher in vLLM, encoder-decoder students."""
    return finish(tmp_path_factory, "finished", lambda run: succeed("run", world.recipe, "--run-dir", run))


@pytest.fixture(scope="session")
def retrained(finished: Finished, world: World, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished run, gone on with another student for KARD alone, a decoder that vLLM runs."""
    changed = (
        "--set",
        f"student.model={world.llama}",
        "--set",
        "student.epochs=2",
        "--set",
        "student.methods=[kard]",
    )

    def go_on(run: Path) -> Outcome:
        copy_run(finished.folder, run)
        return succeed("run", world.recipe, "--run-dir", run, *changed)

    return finish(tmp_path_factory, "retrained", go_on)
