"""Questions to a server, and what must hold for all replies: their tokens are what the client counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kard_ray.runtime.engine import SamplingConfig
from kard_ray.teacher.backends.base import Reply, Request
from kard_ray.teacher.backends.endpoint import EndpointClient, EndpointConfig
from kard_ray.teacher.backends.limits import Backoff, BudgetReachedError
from tests.teacher.backends.endpoint_server import MODEL, Server

QUICK = Backoff(base=0.01, most=0.05, longest_wait=0.5)
SAMPLING = SamplingConfig(temperature=0.7, max_tokens=64)


def settings(server: Server | str, **changes: Any) -> EndpointConfig:
    url = server if isinstance(server, str) else server.url
    return EndpointConfig(**({"kind": "endpoint", "url": url, "key_env": None, "retries": 3} | changes))


def question(text: str, *samples: int, name: str = "q") -> Request:
    return Request(question_id=name, samples=samples or (0,), messages=({"role": "user", "content": text},))


def ask(
    config: EndpointConfig,
    *requests: Request,
    model: str = MODEL,
    sampling: SamplingConfig = SAMPLING,
    template: str = "chat",
    spent: int = 0,
    backoff: Backoff = QUICK,
    look: Callable[[EndpointClient], None] = lambda client: None,
) -> list[Any]:
    """The replies to all requests, asked at once; a BudgetReachedError in place of those that it stopped."""

    async def run() -> list[Any]:
        client = EndpointClient(config, model, sampling, template, 40, spent, backoff=backoff)  # type: ignore[arg-type]

        async def one(request: Request) -> Any:
            try:
                return await client.ask(request)
            except BudgetReachedError as reached:
                return reached

        try:
            found = await asyncio.gather(*map(one, requests))
        finally:
            await client.aclose()
        replies = [
            r for part in found for r in (part.replies if isinstance(part, BudgetReachedError) else part)
        ]
        counted = client.counts.prompt_tokens + client.counts.generated_tokens
        assert sum(r.prompt_tokens + r.generated_tokens for r in replies) == counted == client.spent - spent
        look(client)
        return found

    return asyncio.run(run())


def only(found: list[list[Reply]]) -> Reply:
    ((reply,),) = found
    return reply
