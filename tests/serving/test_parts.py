"""What the ingress does when a part is lost under a call."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.parts import ServeParts


class Handle:
    """A deployment's handle: the first ``losses`` calls of ``keep`` end with a lost replica, the next is answered."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.kept: list[dict[str, Any]] = []
        self.keep = SimpleNamespace(remote=self._keep)

    def options(self, **_: Any) -> Handle:
        return self

    async def _keep(self, row: dict[str, Any]) -> None:
        if self.losses:
            self.losses -= 1
            raise RayActorError
        self.kept.append(row)


def keep(handle: Handle, seconds: float) -> list[str]:
    """Have ``handle`` keep a verdict; returns the parts that were told lost."""
    lost: list[str] = []
    parts = ServeParts(retriever=handle, engines={}, feedback=handle, lost=lost.append)
    asyncio.run(parts.keep({"verdict": "right"}, Deadline(seconds)))
    return lost


def test_a_call_is_made_again_and_each_loss_is_counted() -> None:
    handle = Handle(losses=2)
    assert keep(handle, 30) == ["feedback", "feedback"]
    assert handle.kept == [{"verdict": "right"}]


def test_past_the_deadline_the_client_is_told_which_part_is_gone() -> None:
    handle = Handle(losses=1_000_000)
    with pytest.raises(ServiceError) as error:
        keep(handle, 0.3)
    assert error.value.status in (503, 504)
    assert not handle.kept
