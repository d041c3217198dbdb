"""What answers a student's requests: a vLLM engine, or transformers for an encoder-decoder; token by token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kard_ray.runtime.dialogue import Reply, Request

OnText = Callable[[str], None]  # is told what a text goes on with


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """How tokens of one question are drawn."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    log_probs: bool


class Engine(Protocol):
    """One model that answers many questions at once. A dead or hung one ends its process: Ray starts another."""

    async def load(self, adapters: Sequence[str]) -> None:
        """Have these LoRA adapters (folders) ready."""
        ...

    async def reply(self, request: Request, draw: Draw, adapter: str, on_text: OnText | None) -> Reply:
        """The reply to one request; ``on_text`` hears of a text while it is written."""
        ...

    async def probe(self) -> None:
        """Write one token; returns when that is done, or at once when others' tokens show that it can."""
        ...


async def converse(
    dialogue: Generator[Sequence[Request], Sequence[Reply], dict[str, Any]],
    reply: Callable[[Request, int, int], Any],
) -> dict[str, Any]:
    """The finished row of ``dialogue``; ``reply`` is awaited with each request, its round and its place in it."""
    turn = 0
    try:
        requests = next(dialogue)
        while True:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(reply(request, turn, at)) for at, request in enumerate(requests)]
            requests = dialogue.send([task.result() for task in tasks])
            turn += 1
    except StopIteration as end:
        finished: dict[str, Any] = end.value
        return finished
    except BaseExceptionGroup as group_error:
        first = group_error.exceptions[0]
        raise first from None
