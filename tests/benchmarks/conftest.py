"""One generated benchmark for all tests of this folder, and the folder of public data, if it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
from kard_ray.benchmarks.question import Question
from tests.benchmarks.hub import Hub


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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback, and an empty cache for what is downloaded from it."""
    import huggingface_hub.constants as constants

    served = Hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        served.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    yield served
    served.stop()
