"""Settings for all tests, and tiny models that are written once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tiny_models import tiny_llama, tiny_t5

# No deadline: the machine may be busy, and the first example of a test pays for imports.
settings.register_profile("kard_ray", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kard_ray")


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("models") / "t5")


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A local Ray cluster for one test module."""
    from kard_ray.runtime.session import ClusterConfig, ray_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2"
        )  # training of seconds need not wait for Ray's 2 s
        with ray_session(ClusterConfig(num_cpus=4, object_store_mb=200)):
            yield
