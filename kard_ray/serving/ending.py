"""How a service ends: nothing more begins, and what has begun is finished.

Serve itself ends its proxies, the ingress and the other parts all at once, with whatever they are at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from kard_ray.serving.errors import ServiceError

_RETRY_AFTER = 5  # seconds


class Work:
    """The requests that one replica of the ingress is at."""

    def __init__(self) -> None:
        self.open = 0
        self.ending = False
        self._idle = asyncio.Event()

    @contextmanager
    def one(self) -> Iterator[None]:
        """One request is open inside; raises ServiceError 503 when no more may begin."""
        if self.ending:
            raise ServiceError(503, "unavailable", "the service is ending.", None, _RETRY_AFTER)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            if not self.open:
                self._idle.set()

    async def end(self) -> None:
        """Let nothing more begin; returns when what had begun is finished."""
        self.ending = True
        while self.open:
            self._idle.clear()
            await self._idle.wait()
