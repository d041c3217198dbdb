"""What is done for a question: its defaults, its passages, and what the student is asked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import invalid
from kard_ray.serving.parts import Ask, Found, Parts, Query
from kard_ray.serving.routing import Routing, StudentCard
from kard_ray.serving.schemas import Item

SELF_CONSISTENCY_TEMPERATURE = 0.7  # of several samples, when neither the request nor the recipe names one


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """How a text is drawn, beyond what an item says."""

    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is done for an item, its defaults filled in."""

    item: Item
    card: StudentCard
    drawing: Drawing
    k: int
    samples: int
    temperature: float | None
    version: str
    mode: str
    key: tuple[Any, ...] | None  # of the cache; None: another time it would be another text

    def ask(self, found: Found, request_id: str, deadline: Deadline) -> Ask:
        """What the student is asked."""
        return Ask(
            student=self.card.name,
            version=self.card.version,
            question=self.item.question,
            options=self.item.options,
            passages=found.passages[: self.k],
            seconds=deadline.left,
            samples=self.samples,
            temperature=self.temperature,
            top_p=self.drawing.top_p,
            max_tokens=self.drawing.max_tokens,
            stop=self.drawing.stop,
            seed=self.item.seed,
            request_id=request_id,
        )


def plan(item: Item, card: StudentCard, drawing: Drawing, routing: Routing) -> Plan:
    """What is done for ``item`` by the student ``card``; raises ServiceError."""
    k = card.passages if item.k is None else item.k
    if k > card.passages:
        raise invalid("k", f"got {k}, but the student {card.name} was trained with at most {card.passages}.")
    samples = item.n or card.samples
    temperature = item.temperature
    if temperature is None and samples > 1 and card.temperature == 0:
        temperature = SELF_CONSISTENCY_TEMPERATURE
    version = routing.version(item.knowledge_version)
    mode = routing.mode_for(item.mode, version)
    fixed = item.seed is not None or (card.temperature if temperature is None else temperature) == 0
    key = (
        card.name, card.version, version, mode, k, samples, temperature, item.seed, item.filter, drawing,
        item.question, item.options,
    )  # fmt: skip
    return Plan(
        item=item, card=card, drawing=drawing, k=k, samples=samples, temperature=temperature, version=version,
        mode=mode, key=key if fixed else None,
    )  # fmt: skip


async def find(parts: Parts, plan: Plan, request_id: str, deadline: Deadline) -> Found:
    """The passages that ``plan`` asks for; raises ServiceError."""
    if plan.k == 0:
        return Found(passages=[])
    item = plan.item
    text = " ".join([item.question, *(item.options if plan.card.with_options else ())])
    query = Query(
        text=text, k=plan.k, mode=plan.mode, version=plan.version, request_id=request_id,
        filter=item.filter.model_dump(mode="json") if item.filter else None,
    )  # fmt: skip
    return await retrieve(parts, query, deadline)


async def retrieve(parts: Parts, query: Query, deadline: Deadline) -> Found:
    """Passages; the way to the part and back counts as retrieval."""
    began = time.perf_counter()
    found = await parts.retrieve(query, deadline)
    took = time.perf_counter() - began
    return Found(
        passages=found.passages, retrieve=max(found.retrieve, took - found.rerank), rerank=found.rerank
    )
