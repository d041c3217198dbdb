"""The parts behind the ingress as deployments of Ray Serve: what they are asked, and how Serve sees that they live."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kard_ray.serving.feedback import FeedbackTable
from kard_ray.serving.parts import Ask, Found, Query, StudentEvent, Written
from kard_ray.serving.plan import EnginePlan, KnowledgePlan, students_from_json
from kard_ray.serving.retriever import Searches

if TYPE_CHECKING:
    from kard_ray.serving.student import Student


class SearchPart:
    """The retriever, and with ``reranked`` the reranker, which does its own first stage."""

    def __init__(self, plan: KnowledgePlan, *, reranked: bool) -> None:
        """Raises UserError when a version lacks an index or does not fit the reranker."""
        self.searches = Searches(plan, reranked=reranked)

    async def reconfigure(self, settings: Mapping[str, list[str]]) -> None:
        """Knowledge ``versions`` that are served from now on; the ones before stay open for a while."""
        await self.searches.serve_versions(settings["versions"])

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

    async def reconfigure(self, settings: Mapping[str, Any]) -> None:
        """``students`` from now on; the first time the engine starts, which takes a while."""
        students = settings["students"]
        if self._student is None:
            student = self._started()
            await student.engine.probe()
            await student.load(students_from_json(students))
            await student.warm_up()
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

    async def check_health(self) -> None:
        """Write, if that has failed before. A full disk is no reason to start anew; a write that hangs is."""
        await self.table.probe()


def without_students(plan: EnginePlan) -> EnginePlan:
    """What decides the engine itself."""
    return replace(plan, students=())
