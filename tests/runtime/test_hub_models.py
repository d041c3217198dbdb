from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import ModelStatus, check_model, resolve_model


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub switched off, with an empty cache, which is returned."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_a_hub_model_that_is_not_cached_is_told_offline(no_hub: Path) -> None:
    with pytest.raises(UserError, match=r"not in the hub's local cache and the hub is switched off"):
        resolve_model("org/name@main")
    assert check_model("org/name").status is ModelStatus.MISSING


def test_a_hub_model_will_be_downloaded_when_online(no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    check = check_model("org/name")
    assert check.status is ModelStatus.WILL_BE_DOWNLOADED
    assert not no_hub.exists()


@pytest.mark.parametrize("ref", ["org/name", "org/name@main", "org/name@" + "a" * 40])
def test_a_cached_hub_model_resolves_offline_to_its_commit(
    no_hub: Path, model_directory: Path, ref: str
) -> None:
    repo = no_hub / "models--org--name"
    shutil.copytree(model_directory, repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    assert resolve_model(ref).revision == "a" * 40
    assert check_model(ref).status is ModelStatus.READY
