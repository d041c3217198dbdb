"""Parts and services of a tiny world; everything but Ray and vLLM is real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from kard_ray.serving.api import build_api
from kard_ray.serving.feedback import FeedbackTable
from kard_ray.serving.plan import ServicePlan
from kard_ray.serving.retriever import Searches
from kard_ray.serving.seq2seq_engine import Seq2SeqEngine
from kard_ray.serving.service import Service
from kard_ray.serving.shell import Shell
from kard_ray.serving.student import Student
from kard_ray.serving.tokens import TokenFile
from tests.serving.world import LocalParts, service_plan
from tests.tiny_models import tiny_t5


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all of these tests: engines and searches live in it."""
    made = asyncio.new_event_loop()
    yield made
    left = asyncio.all_tasks(made)
    for task in left:
        task.cancel()

    async def ended() -> None:
        await asyncio.gather(*left, return_exceptions=True)

    made.run_until_complete(ended())
    made.close()


@pytest.fixture(scope="session")
def run(loop: asyncio.AbstractEventLoop) -> Callable[[Awaitable[Any]], Any]:
    """Run something in that loop, at most two minutes."""
    return lambda awaitable: loop.run_until_complete(asyncio.wait_for(awaitable, 120))


@pytest.fixture(scope="session")
def serving_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="session")
def talking_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random T5 that never stops before it must: what it writes is noise, but there is some."""
    folder = tiny_t5(tmp_path_factory.mktemp("models") / "talking")
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"suppress_tokens": [0, 1, 2]}))
    return folder


@pytest.fixture(scope="session")
def plan(serving_folder: Path, talking_t5: Path) -> ServicePlan:
    return service_plan(serving_folder, talking_t5)


@pytest.fixture(scope="session")
def parts(plan: ServicePlan, run: Callable[[Awaitable[Any]], Any]) -> LocalParts:
    students = {}
    for engine in plan.engines:
        student = Student(engine, Seq2SeqEngine(engine))
        run(student.load(engine.students))
        students[engine.name] = student
    return LocalParts(Searches(plan.knowledge, reranked=False), students, FeedbackTable(plan.feedback))


MakeApp = Callable[..., tuple[ASGIApp, Service]]


@pytest.fixture
def make_app(plan: ServicePlan, parts: LocalParts) -> MakeApp:
    """An application with other settings, other routing or other parts, and its service."""

    def make(
        tokens: str | None = None, routing: Any = None, among: LocalParts | None = None, **config: Any
    ) -> tuple[ASGIApp, Service]:
        settings = plan.config.model_copy(update=config)
        service = Service(settings, among or parts, routing or plan.routing)
        api = build_api(service)
        paths = frozenset(route.path for route in api.routes)  # type: ignore[attr-defined]
        shell = Shell(
            api,
            settings,
            service.limits,
            service.metrics,
            tokens=TokenFile(tokens) if tokens else None,
            paths=paths,
        )
        return shell, service

    return make


@asynccontextmanager
async def client_of(app: ASGIApp, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client on this machine."""
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50_000), raise_app_exceptions=True)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8000", headers=headers
    ) as client:
        yield client
