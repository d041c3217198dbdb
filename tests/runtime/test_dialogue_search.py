from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from kard_ray.runtime.dialogue import Find
from kard_ray.runtime.dialogue_search import Gathering


class Searches:
    """Finds each query's length in another thread, which waits for ``go``; a query "bad" fails its search."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.batches: list[list[str]] = []
        self.go = threading.Event()

    def find(self, requests: Sequence[Find]) -> Future[list[Any]]:
        self.batches.append([request.query for request in requests])
        return self.pool.submit(self._search, [request.query for request in requests])

    def _search(self, queries: Sequence[str]) -> list[int]:
        assert self.go.wait(60)
        if "bad" in queries:
            raise OSError("no such index")
        return [len(query) for query in queries]


def find(query: str) -> Find:
    return Find(query=query, how="bm25", k=1)


def test_what_comes_while_a_search_is_at_work_goes_together_into_the_next() -> None:
    searches = Searches()
    gathering = Gathering(searches)  # type: ignore[arg-type]

    async def ask() -> list[int]:
        first = [asyncio.create_task(gathering(find("a" * n))) for n in (1, 2)]
        while not searches.batches:
            await asyncio.sleep(0)
        later = [asyncio.create_task(gathering(find("a" * n))) for n in (3, 4, 5)]
        await asyncio.sleep(0)
        searches.go.set()
        found = await asyncio.gather(*first, *later)
        return [*found, await gathering(find("a" * 6))]

    assert asyncio.run(ask()) == [1, 2, 3, 4, 5, 6]
    assert [len(batch) for batch in searches.batches] == [2, 3, 1]


def test_a_search_that_fails_is_told_to_those_that_waited_for_it_and_to_no_other() -> None:
    searches = Searches()
    searches.go.set()
    gathering = Gathering(searches)  # type: ignore[arg-type]

    async def ask() -> list[Any]:
        failed = await asyncio.gather(gathering(find("bad")), gathering(find("x")), return_exceptions=True)
        return [*failed, await gathering(find("good"))]

    *failed, good = asyncio.run(ask())
    assert good == 4
    for error in failed:
        with pytest.raises(OSError, match="no such index"):
            raise error
