"""The parts as deployments of Ray Serve: what starts them, what they are asked, how Serve sees whether they live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from ray import serve

from kard_ray.serving.api import build_api
from kard_ray.serving.config import ServingConfig
from kard_ray.serving.deadline import Deadline
from kard_ray.serving.feedback import FeedbackTable
from kard_ray.serving.logs import logger
from kard_ray.serving.metrics import Metrics
from kard_ray.serving.parts import Ask, Found, Query, ServeParts, StudentEvent, Written
from kard_ray.serving.plan import EnginePlan, KnowledgePlan, students_from_json
from kard_ray.serving.retriever import Searches
from kard_ray.serving.routing import Routing
from kard_ray.serving.service import Service
from kard_ray.serving.shell import Shell
from kard_ray.serving.tokens import TokenFile

if TYPE_CHECKING:
    from kard_ray.serving.student import Student

_LOOK_SECONDS = 0.5  # between two looks at parts that are starting
_STATE_SECONDS = 5.0


@serve.ingress()
class Ingress:
    """The HTTP interface. It is ready when all other parts are."""

    def __init__(
        self,
        config: ServingConfig,
        retriever: Any,
        reranker: Any | None,
        feedback: Any,
        engines: Mapping[str, Any],
        tokens: str | None,
    ) -> None:
        metrics = Metrics()
        self.parts = ServeParts(
            retriever=retriever,
            reranker=reranker,
            feedback=feedback,
            engines=dict(engines),
            lost=lambda part: metrics.lost.inc(tags={"part": part}),
        )
        self.service = Service(config, self.parts, Routing(), metrics)
        self.tokens = TokenFile(tokens) if tokens is not None else None

    def __serve_build_asgi_app__(self) -> Shell:
        api = build_api(self.service)
        return Shell(
            api,
            self.service.config,
            self.service.limits,
            self.service.metrics,
            tokens=self.tokens,
            paths=frozenset(route.path for route in api.routes if isinstance(route, APIRoute)),
            adds_request_id=False,  # Serve's proxy does
        )

    async def reconfigure(self, routing: Mapping[str, Any]) -> None:
        """Students, versions and shares from now on; at the start this is when it becomes ready."""
        while missing := await self.parts.unready(Deadline(_STATE_SECONDS)):
            logger.info("waiting for other parts", extra={"kard_ray": {"missing": missing}})
            await asyncio.sleep(_LOOK_SECONDS)
        self.service.routing = Routing.model_validate(routing)

    async def check_health(self) -> None:
        """That this is answered at all is what there is to know: the other parts have their own checks."""


class SearchPart:
    """The retriever, and with ``reranked`` the reranker, which does its own first stage."""

    def __init__(self, plan: KnowledgePlan, *, reranked: bool) -> None:
        """Raises UserError when a version lacks an index or does not fit the reranker."""
        self.searches = Searches(plan, reranked=reranked)

    async def reconfigure(self, versions: list[str]) -> None:
        """Knowledge versions that are served from now on; the ones before stay open for a while."""
        await self.searches.serve_versions(versions)

    async def retrieve(self, query: Query) -> Found:
        """Passages for ``query``."""
        return await self.searches.find(query)

    async def state(self) -> str | None:
        """Why it is not ready, or None."""
        return self.searches.broken

    async def check_health(self) -> None:
        """Search. A folder that cannot be read is no reason to start anew; a search that hangs is."""
        await self.searches.probe()


class StudentPart:
    """One engine and its students."""

    def __init__(self, plan: EnginePlan, hung_after: float) -> None:
        """``plan`` without its students: those come by :meth:`reconfigure`, and change while it runs."""
        self.plan, self.hung_after = plan, hung_after
        self._student: Student | None = None

    async def reconfigure(self, students: list[Any]) -> None:
        """Students from now on; the first time the engine starts, which takes a while."""
        if self._student is None:
            student = self._started()
            await student.engine.probe()
            await student.load(students_from_json(students))
            self._student = student
        else:
            await self._student.load(students_from_json(students))

    def _started(self) -> Student:
        from kard_ray.serving.student import Student

        if self.plan.encoder_decoder:
            from kard_ray.serving.seq2seq_engine import Seq2SeqEngine

            return Student(self.plan, Seq2SeqEngine(self.plan))
        from kard_ray.serving.vllm_engine import VllmEngine

        return Student(self.plan, VllmEngine(self.plan, self.hung_after))

    @property
    def student(self) -> Student:
        """What is asked; Serve sends nothing before :meth:`reconfigure` has returned."""
        assert self._student is not None
        return self._student

    async def answer(self, ask: Ask) -> Written:
        """The reply to ``ask``."""
        return await self.student.answer(ask)

    async def stream(self, ask: Ask) -> AsyncGenerator[list[StudentEvent], None]:
        """The reply as it is written."""
        async for events in self.student.stream(ask):
            yield events

    async def state(self) -> str | None:
        """Why it is not ready, or None: it is made ready before it is asked anything."""
        return None

    async def check_health(self) -> None:
        """Have the engine write something, unless it is at work; one that hangs ends its own process."""
        if self._student is not None:
            await self._student.engine.probe()


class FeedbackPart:
    """The table of verdicts."""

    def __init__(self, folder: str) -> None:
        """Raises UserError when it cannot be written."""
        self.table = FeedbackTable(folder)

    async def keep(self, row: Mapping[str, Any]) -> None:
        """Append ``row``; returns when it is committed."""
        await self.table.keep(row)

    async def state(self) -> str | None:
        """Why it is not ready, or None."""
        return self.table.broken


def without_students(plan: EnginePlan) -> EnginePlan:
    """What decides the engine itself."""
    return replace(plan, students=())
