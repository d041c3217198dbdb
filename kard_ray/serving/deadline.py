"""One deadline for all that is done for a request, in whichever process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kard_ray.serving.errors import past_deadline


class Deadline:
    """A moment of this process's clock; other processes are told the seconds that are left."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self.at - time.monotonic())

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """What is awaited inside is cancelled at the deadline, and ServiceError (504) raised."""
        scope = asyncio.timeout(self.left)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise past_deadline() from error
