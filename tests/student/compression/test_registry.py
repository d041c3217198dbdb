"""Which compressor a machine uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from pydantic import ValidationError

from kard_ray.student.compression.config import DEFAULT_MODELS, CompressionConfig
from kard_ray.student.compression.llmlingua2 import LLMLingua2
from kard_ray.student.compression.registry import chosen, load_compressor
from kard_ray.student.compression.self_information import SelfInformation


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub switched off, with an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.usefixtures("hub_cache")
def test_auto_is_self_information_where_llmlingua2s_model_is_not() -> None:
    found = chosen(CompressionConfig(window_tokens=64))
    assert (found.kind, found.model) == ("self_information", DEFAULT_MODELS["self_information"])
    assert found.window_tokens == 64


def test_auto_is_llmlingua2_where_its_model_is(hub_cache: Path, classifier_folder: Path) -> None:
    repository = hub_cache / ("models--" + DEFAULT_MODELS["llmlingua2"].replace("/", "--"))
    commit = "0123456789" * 4
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(classifier_folder, repository / "snapshots" / commit)
    found = chosen(CompressionConfig())
    assert (found.kind, found.model) == ("llmlingua2", DEFAULT_MODELS["llmlingua2"])


def test_a_kind_and_a_model_that_are_named_are_used() -> None:
    named = CompressionConfig(kind="llmlingua2", model="my/classifier")
    assert chosen(named) == named
    assert chosen(CompressionConfig(kind="llmlingua2")).model == DEFAULT_MODELS["llmlingua2"]


def test_a_model_without_a_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="kind: auto, which chooses the model itself"):
        CompressionConfig(model="bundled:smollm2-135m-instruct")


def test_the_compressor_is_that_of_the_kind(llama_folder: Path, classifier_folder: Path) -> None:
    assert isinstance(
        load_compressor(CompressionConfig(kind="self_information"), str(llama_folder)), SelfInformation
    )
    assert isinstance(
        load_compressor(CompressionConfig(kind="llmlingua2"), str(classifier_folder)), LLMLingua2
    )
    with pytest.raises(ValueError, match="call chosen"):
        load_compressor(CompressionConfig(), str(llama_folder))


def test_how_fast_it_runs_is_no_part_of_what_comes_out() -> None:
    fast = CompressionConfig(workers=8, cpus_per_worker=4, gpus_per_worker=1, batch_tokens=1, batch_rows=1)
    assert fast.content() == CompressionConfig().content()
    assert set(fast.content()) == {"kind", "model", "dtype", "window_tokens"}
