"""The tiny world, written once, and one undisturbed run in it that several tests look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import Outcome, World, make_world, succeed


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@dataclass(frozen=True)
class Finished:
    """A finished run: nobody writes into it; copy it to change something."""

    folder: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """``kard-ray run`` from questions to report, with real engines."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return Finished(folder, succeed("run", world.recipe, "--run-dir", folder))
