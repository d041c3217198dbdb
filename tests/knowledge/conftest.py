"""One local Ray cluster for all tests of this folder that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kard_ray.runtime.session import ClusterConfig, ray_session


@pytest.fixture(scope="package")
def local_ray() -> Iterator[None]:
    """In place of one per module: starting and ending a cluster takes 5 s."""
    with ray_session(ClusterConfig(num_cpus=4, object_store_mb=200)):
        yield
