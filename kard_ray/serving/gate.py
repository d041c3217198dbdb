"""How many questions are worked on and how many wait: counted here, because Serve's own limit was seen not to hold."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import overloaded

_WEIGHT = 0.1  # of the newest question in the mean time that a question takes


class Gate:
    """Lets ``running`` questions in; ``queued`` more wait in order, and any other is refused at once."""

    def __init__(self, running: int, queued: int, *, changed: Callable[[], None] = lambda: None) -> None:
        """``changed`` is called when a question has come in, has left, or has begun or ceased to wait."""
        self.limit, self.queued, self.changed = running, queued, changed
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0  # mean time inside

    @property
    def waiting(self) -> int:
        """Questions in the queue, patient ones left out."""
        return len(self._waiting)

    @property
    def retry_after(self) -> int:
        """Seconds after which there is likely to be room again: what the queue takes to be worked off, 1 to 30."""
        return min(30, max(1, math.ceil(self._seconds * (self.waiting + 1) / self.limit)))

    def has_room(self, share: float = 1.0) -> bool:
        """Whether less than ``share`` of the places inside are taken."""
        return self.running < share * self.limit

    @asynccontextmanager
    async def inside(self, deadline: Deadline, *, patient: bool = False) -> AsyncIterator[float]:
        """One question; gives the seconds that it waited. Raises ServiceError 503 when the queue is full, else 504.

        A ``patient`` one (of a batch) takes no place in the queue: it comes in when nobody else waits.
        """
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        if self.running < self.limit and not self._waiting:
            self.running += 1
            self.changed()
        elif patient:
            await self._wait(self._patient, deadline)
        elif len(self._waiting) < self.queued:
            await self._wait(self._waiting, deadline)
        else:
            raise overloaded(self.retry_after)
        entered = loop.time()
        try:
            yield entered - arrived
        finally:
            self._seconds += _WEIGHT * (loop.time() - entered - self._seconds)
            self._leave()

    async def _wait(self, queue: deque[asyncio.Future[None]], deadline: Deadline) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self.changed()
        try:
            async with deadline.hold():
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave()  # its turn had come in the same moment: it goes to the next one
            elif turn in queue:
                queue.remove(turn)
                self.changed()
            raise

    def _leave(self) -> None:
        while queue := self._waiting or self._patient:
            turn = queue.popleft()
            if not turn.done():  # else whoever waited has just given up
                turn.set_result(None)  # the place is handed on
                break
        else:
            self.running -= 1
        self.changed()
