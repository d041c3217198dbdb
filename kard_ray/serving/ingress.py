"""The ingress as a deployment of Ray Serve; its processes import neither models nor the knowledge base."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi.routing import APIRoute
from ray import serve

from kard_ray.serving.api import build_api
from kard_ray.serving.config import ServingConfig
from kard_ray.serving.deadline import Deadline
from kard_ray.serving.ending import Work
from kard_ray.serving.logs import logger
from kard_ray.serving.metrics import Metrics
from kard_ray.serving.parts import ServeParts
from kard_ray.serving.routing import Routing
from kard_ray.serving.service import Service
from kard_ray.serving.shell import Shell
from kard_ray.serving.tokens import TokenFile

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
        self.work = Work()
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
            work=self.work,
            adds_request_id=False,  # Serve's proxy does
        )

    async def reconfigure(self, routing: Mapping[str, Any]) -> None:
        """Students, versions and shares from now on; at the start this is when it becomes ready.

        When the service ends, this returns when nothing is open any more.
        """
        wanted = Routing.model_validate(routing)
        if wanted.ending:
            await self.work.end()
            return
        self.work.ending = False
        while missing := await self.parts.unready(Deadline(_STATE_SECONDS)):
            logger.info("waiting for other parts", extra={"kard_ray": {"missing": missing}})
            await asyncio.sleep(_LOOK_SECONDS)
        self.service.routing = wanted

    async def check_health(self) -> None:
        """That this is answered at all is what there is to know: the other parts have their own checks."""
