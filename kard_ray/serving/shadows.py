"""A second student is asked what the first one was asked; nobody sees its answers, they are counted."""

from __future__ import annotations

import asyncio
import random

from kard_ray.serving import asking
from kard_ray.serving.asking import Drawing
from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.gate import Gate
from kard_ray.serving.logs import told
from kard_ray.serving.metrics import Metrics
from kard_ray.serving.parts import Found, Parts
from kard_ray.serving.routing import Routing, StudentCard
from kard_ray.serving.schemas import Answer, Item

_ROOM = 0.5  # share of the places inside that may be taken when a shadow is asked


class Shadows:
    """The shadows of one ingress; ``seconds`` each may take."""

    def __init__(self, parts: Parts, gate: Gate, metrics: Metrics, seconds: float) -> None:
        self.parts, self.gate, self.metrics, self.seconds = parts, gate, metrics, seconds
        self.running: set[asyncio.Task[None]] = set()

    def ask(
        self, routing: Routing, asked: StudentCard, item: Item, answer: Answer, found: Found, request_id: str
    ) -> None:
        """Ask the shadow of ``asked`` what it was asked, if it has one, its share says so, and there is room."""
        card = routing.shadow_of(asked, random.random())
        if card is None:
            return
        if not self.gate.has_room(_ROOM):
            self.metrics.shadow.inc(tags={"model": card.name, "outcome": "left_out"})
            return
        task = asyncio.create_task(self._ask(routing, card, item, answer, found, request_id))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _ask(
        self, routing: Routing, card: StudentCard, item: Item, answer: Answer, found: Found, request_id: str
    ) -> None:
        deadline = Deadline(self.seconds)
        try:
            plan = asking.plan(item.model_copy(update={"k": None}), card, Drawing(), routing)
            if plan.k > len(found.passages):
                found = await asking.find(self.parts, plan, request_id, deadline)
            async with self.gate.inside(deadline, patient=True):
                written = await self.parts.answer(
                    card.engine, plan.ask(found, request_id, deadline), deadline
                )
        except ServiceError as error:
            outcome = "failed"
            told("shadow failed", request_id=request_id, model=card.name, code=error.code)
        else:
            outcome = "same" if written.answer == answer.answer else "other"
            told(
                "shadow answered",
                request_id=request_id,
                answer_id=answer.id,
                model=card.name,
                same=outcome == "same",
                beside=answer.model,
            )
        self.metrics.shadow.inc(tags={"model": card.name, "outcome": outcome})
