from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A directory with the names of a model and no sense in them."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3 << 20))
    return folder
