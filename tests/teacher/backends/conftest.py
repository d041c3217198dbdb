"""Servers that are stopped after the test."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.teacher.backends.endpoint_server import Behaviour, serving


@pytest.fixture
def serve(tmp_path: Path):
    """Starts a server with a behaviour."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(serving(tmp_path / "requests.jsonl", Behaviour(**how)))
