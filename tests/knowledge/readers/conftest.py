"""The folder of public data, if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def public_data() -> Path:
    default = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("KARD_RAY_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no public benchmark data in {folder}; set KARD_RAY_DATA to its folder")
    return folder
