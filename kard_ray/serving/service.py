"""What the ingress does with a request: choose a student, find passages, ask, and put the answer together."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from kard_ray.serving import asking
from kard_ray.serving.answers import in_milliseconds, passage_of, put_together
from kard_ray.serving.asking import Drawing, Plan
from kard_ray.serving.cache import LruCache
from kard_ray.serving.config import ServingConfig
from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.gate import Gate
from kard_ray.serving.limits import TokenLimits
from kard_ray.serving.logs import told
from kard_ray.serving.metrics import Metrics
from kard_ray.serving.parts import Delta, Found, Parts, Query, Restart, Written
from kard_ray.serving.routing import Routing, StudentCard
from kard_ray.serving.schemas import (
    Answer,
    BatchRequest,
    BatchResult,
    ErrorDetail,
    FeedbackRequest,
    Item,
    Milliseconds,
    Passage,
    RetrieveRequest,
    RetrieveResponse,
)
from kard_ray.serving.shadows import Shadows


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The first event of a stream: the passages are there."""

    id: str
    found: Found
    passages: list[Passage]
    milliseconds: Milliseconds
    card: StudentCard
    knowledge_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """The last event of a stream."""

    answer: Answer
    written: Written


ServiceEvent = Start | Delta | Restart | Finish


class Service:
    """The ingress without HTTP; one per replica."""

    def __init__(
        self, config: ServingConfig, parts: Parts, routing: Routing, metrics: Metrics | None = None
    ) -> None:
        self.config, self.parts, self.routing = config, parts, routing
        self.metrics = metrics or Metrics()
        self.gate = Gate(config.max_running, config.max_queued, changed=self._gauge)
        self.limits = TokenLimits()
        self.cache: LruCache[tuple[Answer, Written]] = LruCache(config.cache_entries)
        self._shadows = Shadows(parts, self.gate, self.metrics, config.deadline_seconds)

    def deadline(self, seconds: float | None) -> Deadline:
        """A request's deadline, from now."""
        return Deadline(seconds or self.config.deadline_seconds)

    # -- one question ------------------------------------------------------------------------------------------------

    async def answer(
        self,
        item: Item,
        request_id: str,
        deadline: Deadline,
        *,
        drawing: Drawing | None = None,
        patient: bool = False,
    ) -> tuple[Answer, Written]:
        """Answer ``item``; raises ServiceError."""
        steps = self.stream(item, request_id, deadline, drawing=drawing, patient=patient, whole=True)
        async with aclosing(steps) as events:
            async for event in events:
                if isinstance(event, Finish):
                    return event.answer, event.written
        raise AssertionError("a stream ends with Finish or an error")

    async def stream(
        self, item: Item, request_id: str, deadline: Deadline, *, drawing: Drawing | None = None,
        patient: bool = False, whole: bool = False,
    ) -> AsyncGenerator[ServiceEvent, None]:  # fmt: skip
        """Answer ``item`` step by step; ``whole``: no text before the end, which costs less. Raises ServiceError."""
        began = time.perf_counter()
        card = self.routing.choose(item.model, item.question, item.options)
        plan = asking.plan(item, card, drawing or Drawing(), self.routing)
        identity = f"ans_{uuid.uuid4().hex}"
        kept = self.cache.get(plan.key) if plan.key is not None else None
        if plan.key is not None:
            self.metrics.cache.inc(tags={"found": str(kept is not None).lower()})
        if kept is not None:
            for event in self._from_cache(identity, kept, card, plan, began):
                yield event
            return
        async with self.gate.inside(deadline, patient=patient) as queued:
            found = await asking.find(self.parts, plan, request_id, deadline)
            passages = [passage_of(row) for row in found.passages]
            times = {"queue": queued, "retrieve": found.retrieve, "rerank": found.rerank}
            yield Start(
                id=identity, found=found, passages=passages, milliseconds=in_milliseconds(times), card=card,
                knowledge_version=plan.version,
            )  # fmt: skip
            asked = time.perf_counter()
            ask = plan.ask(found, request_id, deadline)
            written: Written | None = None
            begun = False
            if whole:
                written = await self.parts.answer(card.engine, ask, deadline)
            else:
                async with aclosing(self.parts.stream(card.engine, ask, deadline)) as events:
                    async for step in events:
                        if isinstance(step, Written):
                            written = step
                        else:
                            if not begun and isinstance(step, Delta):
                                begun = True
                                self.metrics.first_token.observe(
                                    time.perf_counter() - began, tags={"model": card.name}
                                )
                            yield step
            assert written is not None  # the last event of every stream that ends without an error
            now = time.perf_counter()
            times |= {"generate": now - asked, "total": now - began}
        answer = put_together(identity, written, passages, times, card, plan.version)
        if plan.key is not None and written.version == card.version:
            self.cache.put(plan.key, (answer, written))
        self._count(answer, card, times, request_id, item)
        self._shadows.ask(self.routing, card, item, answer, found, request_id)
        yield Finish(answer=answer, written=written)

    def _from_cache(
        self, identity: str, kept: tuple[Answer, Written], card: StudentCard, plan: Plan, began: float
    ) -> list[ServiceEvent]:
        answer, written = kept
        times = Milliseconds(total=round((time.perf_counter() - began) * 1000, 3))
        answer = answer.model_copy(update={"id": identity, "cached": True, "milliseconds": times})
        self.metrics.answers.inc(
            tags={"model": card.name, "readable": str(answer.answer is not None).lower(), "cached": "true"}
        )
        start = Start(
            id=identity, found=Found(passages=[]), passages=answer.passages, milliseconds=Milliseconds(), card=card,
            knowledge_version=plan.version,
        )  # fmt: skip
        texts = [sample.text for sample in written.samples]
        return [
            start,
            *(Delta(sample=at, text=text) for at, text in enumerate(texts)),
            Finish(answer=answer, written=written),
        ]

    def _count(
        self, answer: Answer, card: StudentCard, times: dict[str, float], request_id: str, item: Item
    ) -> None:
        readable = str(answer.answer is not None).lower()
        self.metrics.answers.inc(tags={"model": card.name, "readable": readable, "cached": "false"})
        if answer.tokens.prompt:
            self.metrics.tokens.inc(answer.tokens.prompt, tags={"model": card.name, "kind": "prompt"})
        if answer.tokens.generated:
            self.metrics.tokens.inc(answer.tokens.generated, tags={"model": card.name, "kind": "generated"})
        for stage, seconds in times.items():
            self.metrics.stage.observe(seconds, tags={"stage": stage})
        told(
            "answered",
            request_id=request_id,
            answer_id=answer.id,
            model=card.name,
            model_version=answer.model_version,
            knowledge_version=answer.knowledge_version,
            passages=len(answer.passages),
            readable=answer.answer is not None,
            milliseconds=answer.milliseconds.model_dump(),
            tokens=answer.tokens.model_dump(),
            **({"question": item.question, "rationale": answer.rationale} if self.config.log_text else {}),
        )

    def _gauge(self) -> None:
        self.metrics.running.set(self.gate.running)
        self.metrics.waiting.set(self.gate.waiting)

    # -- other requests ----------------------------------------------------------------------------------------------

    async def batch(self, request: BatchRequest, request_id: str, deadline: Deadline) -> list[BatchResult]:
        """One result per item, in order; a few are worked on at once, when nobody else waits."""
        places = asyncio.Semaphore(self.config.batch_at_once)

        async def one(at: int, item: Item) -> BatchResult:
            name = f"{request_id}-{at}"
            try:
                async with places:
                    answer, _ = await self.answer(item, name, deadline, patient=True)
            except ServiceError as error:
                return BatchResult(error=ErrorDetail.model_validate(error.body(name)["error"]))
            return BatchResult(answer=answer)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(at, item)) for at, item in enumerate(request.items)]
        return [task.result() for task in tasks]

    async def retrieve(
        self, request: RetrieveRequest, request_id: str, deadline: Deadline
    ) -> RetrieveResponse:
        """Passages for a query."""
        began = time.perf_counter()
        version = self.routing.version(request.knowledge_version)
        query = Query(
            text=request.query,
            k=request.k,
            mode=self.routing.mode_for(request.mode, version),
            version=version,
            filter=request.filter.model_dump(mode="json") if request.filter else None,
            request_id=request_id,
        )
        async with self.gate.inside(deadline) as queued:
            found = await asking.retrieve(self.parts, query, deadline)
        times = {"queue": queued, "retrieve": found.retrieve, "rerank": found.rerank}
        times["total"] = time.perf_counter() - began
        told("retrieved", request_id=request_id, passages=len(found.passages), version=query.version)
        return RetrieveResponse(
            passages=[passage_of(row) for row in found.passages],
            milliseconds=in_milliseconds(times),
            knowledge_version=query.version,
        )

    async def keep(
        self, request: FeedbackRequest, feedback_id: str, token: str, request_id: str, deadline: Deadline
    ) -> None:
        """Store a verdict; returns when it is on disk."""
        row = request.model_dump(mode="json") | {
            "feedback_id": feedback_id,
            "given_by": token,
            "created": time.time(),
        }
        await self.parts.keep(row, deadline)
        self.metrics.feedback.inc(tags={"verdict": request.verdict})
        told("verdict kept", request_id=request_id, feedback_id=feedback_id, verdict=request.verdict)
