"""Searches of many dialogues in one: what is asked for while one search is at work goes together into the next."""

from __future__ import annotations

import asyncio
from typing import Any

from kard_ray.runtime.dialogue import Ask, Find


class Gathering:
    """Awaited with a request, it gives what was found for it; the engine's loop is never held up.

    ``ask`` begins each search elsewhere, for all requests that have gathered. Nothing waits for more of them: a request
    that comes when no search is at work is searched for at once, with those of the same turn of the loop, so batches
    are as large as the search is slow.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self._waiting: list[tuple[Find, asyncio.Future[Any]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, request: Find) -> Any:
        """What was found for ``request``; raises what its search raised."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                found = await asyncio.wrap_future(self.ask.find([request for request, _ in batch]))
            except Exception as error:  # noqa: BLE001 - told to each of those that wait for this search
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for (_, answer), one in zip(batch, found, strict=True):
                    if not answer.done():
                        answer.set_result(one)
