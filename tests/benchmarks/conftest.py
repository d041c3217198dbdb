"""One generated benchmark for all tests of this folder, and the folder of public data, if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
from kard_ray.benchmarks.question import Question


@pytest.fixture(scope="session")
def factbook() -> Factbook:
    return Factbook(FactbookConfig(test=2000))


@pytest.fixture(scope="session")
def factbook_questions(factbook: Factbook) -> list[Question]:
    return list(factbook.questions())


@pytest.fixture(scope="session")
def public_data() -> Path:
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("KARD_RAY_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no public benchmark data in {folder}; set KARD_RAY_DATA to its folder")
    return folder
