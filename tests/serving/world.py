"""A service in this process: a tiny random T5, twelve passages, and every part as it is, without Ray."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lance

from kard_ray.evaluation.prompts import Manner
from kard_ray.knowledge.fragments import table_uri
from kard_ray.knowledge.indexes import make_bm25_index
from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.knowledge.settings import read_settings
from kard_ray.knowledge.versions import record_version
from kard_ray.runtime.engine import EngineConfig, SamplingConfig
from kard_ray.serving.config import ServingConfig
from kard_ray.serving.deadline import Deadline
from kard_ray.serving.feedback import FeedbackTable
from kard_ray.serving.parts import Ask, Found, Query, StudentEvent, Written
from kard_ray.serving.plan import EnginePlan, KnowledgePlan, ServicePlan, StudentPlan
from kard_ray.serving.retriever import Searches
from kard_ray.serving.routing import Routing, StudentCard
from kard_ray.serving.student import Student
from kard_ray.student.rendering import RenderingConfig
from tests.knowledge.rows import write_base

RIVERS = ("Dorn", "Esk", "Isar", "Odra")
TOWNS = ("Arlen", "Brock", "Caldy", "Drumm", "Eskel", "Farno")
QUESTION = {"question": "On which river does Arlen lie?", "options": list(RIVERS)}


def passages() -> list[tuple[str, str, str]]:
    """(id, title, text) of two passages per town; the first one's title is markup, and its id an address."""
    rows = [("https://example.org/arlen", "<b>Arlen</b>", f"Arlen lies on the river {RIVERS[0]}.")]
    for at, town in enumerate(TOWNS[1:], start=1):
        rows.append((f"{town}/river", town, f"{town} lies on the river {RIVERS[at % 4]}."))
    return rows + [
        (f"{town}/year", town, f"{town} was founded in {1200 + at}.") for at, town in enumerate(TOWNS)
    ]


def write_knowledge(folder: Path) -> str:
    """A knowledge base of these passages; returns its version's tag."""
    return write_base(folder, [passages()]).tag


def without_arlen(folder: Path) -> str:
    """The tag of a second version of the knowledge base, without the passages on one town."""
    table = lance.dataset(table_uri(str(folder)))
    table.delete("title LIKE '%Arlen%'")
    number = lance.dataset(table.uri).version
    make_bm25_index(str(folder), number, read_settings(str(folder)), workers=1)
    return record_version(str(folder), number, "update", removed=2).tag


def student_plan(name: str, model: Path, **more: Any) -> StudentPlan:
    """A student that reads two passages and writes up to 12 tokens."""
    manner = Manner(
        tokenizer=str(model), rendering=RenderingConfig(max_prompt_tokens=200), form="text", passages=2
    )
    fields = {name: more.pop(name) for name in list(more) if name in Manner.__dataclass_fields__}
    return StudentPlan(
        name=name,
        version=more.pop("version", f"train/{name}/0123456789abcdef"),
        manner=replace(manner, **fields),
        sampling=SamplingConfig(max_tokens=12, **more),
        log_probs=True,
    )


def card(student: StudentPlan, engine: str) -> StudentCard:
    """What the ingress knows of it."""
    return StudentCard(
        name=student.name,
        method="kard",
        version=student.version,
        created=1_700_000_000,
        engine=engine,
        passages=student.manner.passages,
        with_options=True,
        max_tokens=student.sampling.max_tokens,
    )


def service_plan(folder: Path, model: Path, *, encoder_decoder: bool = True, **config: Any) -> ServicePlan:
    """Two students, each with an engine of its own, and a knowledge base in ``folder``."""
    if not (folder / "knowledge").exists():
        write_knowledge(folder / "knowledge")
    students = [student_plan("kard", model), student_plan("other", model, passages=0)]
    engine = EngineConfig(
        dtype="float32" if encoder_decoder else "bfloat16", device="cpu", max_model_tokens=256, batch_rows=8,
        max_sequences=8, kv_cache_gib=1,
    )  # fmt: skip
    engines = tuple(
        EnginePlan(
            name=f"student-{one.name}", model_path=str(model), encoder_decoder=encoder_decoder, config=engine,
            seed=7, students=(one,),
        )
        for one in students
    )  # fmt: skip
    serving = ServingConfig(**({"health_seconds": 60.0} | config))
    return ServicePlan(
        config=serving,
        routing=Routing(
            students=tuple(card(one, f"student-{one.name}") for one in students),
            traffic=serving.traffic,
            shadow=serving.shadow,
            shadow_share=serving.shadow_share,
            knowledge_version="build-1",
            mode="bm25",
            modes=("bm25",),
        ),
        knowledge=KnowledgePlan(
            folder=str(folder / "knowledge"),
            versions=("build-1",),
            retrieval=RetrievalConfig(),
            modes=("bm25",),
        ),
        engines=engines,
        feedback=str(folder / "feedback"),
        tokens=None,
    )


@dataclass
class LocalParts:
    """The parts in this process; see :class:`kard_ray.serving.parts.Parts`."""

    searches: Searches
    students: dict[str, Student]
    table: FeedbackTable

    async def retrieve(self, query: Query, deadline: Deadline) -> Found:
        async with deadline.hold():
            return await self.searches.find(query)

    async def answer(self, engine: str, ask: Ask, deadline: Deadline) -> Written:
        return await self.students[engine].answer(replace(ask, seconds=deadline.left))

    async def stream(self, engine: str, ask: Ask, deadline: Deadline) -> AsyncGenerator[StudentEvent, None]:
        async for batch in self.students[engine].stream(replace(ask, seconds=deadline.left)):
            for event in batch:
                yield event

    async def keep(self, row: Mapping[str, Any], deadline: Deadline) -> None:
        async with deadline.hold():
            await self.table.keep(row)

    async def unready(self, deadline: Deadline) -> list[str]:
        return [why for why in (self.searches.broken, self.table.broken) if why is not None]

    async def metrics(self) -> str:
        return "ray_kard_ray_running 0\n"
