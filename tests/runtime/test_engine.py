"""What engines are started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from kard_ray.runtime.engine import EngineConfig, engine_environment, engine_kwargs
from kard_ray.runtime.errors import UserError


def test_models_are_compiled_on_gpus_and_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "g++").touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine_kwargs(EngineConfig(), "cpu", seed=0)["enforce_eager"]
    assert not engine_kwargs(EngineConfig(), "gpu", seed=0)["enforce_eager"]
    assert not engine_kwargs(EngineConfig(enforce_eager=False), "cpu", seed=0)["enforce_eager"]
    assert engine_kwargs(EngineConfig(enforce_eager=True), "gpu", seed=0)["enforce_eager"]


def test_compiling_on_a_cpu_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"enforce_eager.*no C\+\+ compiler"):
        engine_kwargs(EngineConfig(enforce_eager=False), "cpu", seed=0)
    engine_kwargs(EngineConfig(enforce_eager=False), "gpu", seed=0)  # CUDA brings its own


def test_the_environment_of_a_gpus_engine_is_left_alone() -> None:
    assert engine_environment(EngineConfig(), "gpu") == {}
    assert engine_environment(EngineConfig(kv_cache_gib=3), "cpu")["VLLM_CPU_KVCACHE_SPACE"] == "3"
