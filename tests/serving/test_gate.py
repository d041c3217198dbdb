"""The gate under any order of arrivals, ends and give-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.gate import Gate

FAR = 60.0


class Visitor:
    """One question at the gate; ``leave`` lets it go."""

    def __init__(self, gate: Gate, deadline: Deadline, patient: bool = False) -> None:
        self.leave = asyncio.Event()
        self.inside = False
        self.refused: ServiceError | None = None
        self.task = asyncio.create_task(self._visit(gate, deadline, patient))

    async def _visit(self, gate: Gate, deadline: Deadline, patient: bool) -> None:
        try:
            async with gate.inside(deadline, patient=patient):
                self.inside = True
                await self.leave.wait()
        except ServiceError as error:
            self.refused = error
        finally:
            self.inside = False


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_one_more_than_the_queue_holds_is_refused_at_once() -> None:
    async def visit() -> None:
        gate = Gate(running=2, queued=1)
        visitors = [Visitor(gate, Deadline(FAR)) for _ in range(4)]
        await settle()
        assert [v.inside for v in visitors] == [True, True, False, False]
        assert visitors[3].refused is not None
        assert (visitors[3].refused.status, visitors[3].refused.code) == (503, "overloaded")
        assert 1 <= (visitors[3].refused.retry_after or 0) <= 30
        visitors[0].leave.set()
        await settle()
        assert visitors[2].inside
        for one in visitors:
            one.leave.set()
        await settle()
        assert (gate.running, gate.waiting) == (0, 0)

    asyncio.run(visit())


def test_who_waits_past_the_deadline_is_told_and_takes_no_place() -> None:
    async def visit() -> None:
        gate = Gate(running=1, queued=5)
        first = Visitor(gate, Deadline(FAR))
        await settle()
        late = Visitor(gate, Deadline(0.01))
        await late.task
        assert late.refused is not None
        assert late.refused.code == "deadline"
        after = Visitor(gate, Deadline(FAR))
        await settle()
        first.leave.set()
        await settle()
        assert after.inside

    asyncio.run(visit())


def test_the_patient_come_in_when_nobody_else_waits() -> None:
    async def visit() -> None:
        gate = Gate(running=1, queued=2)
        first = Visitor(gate, Deadline(FAR))
        await settle()
        patient = [Visitor(gate, Deadline(FAR), patient=True) for _ in range(5)]
        await settle()
        hurried = Visitor(gate, Deadline(FAR))
        await settle()
        assert all(v.refused is None for v in patient)
        first.leave.set()
        await settle()
        assert hurried.inside
        assert not any(v.inside for v in patient)
        hurried.leave.set()
        await settle()
        assert [v.inside for v in patient] == [True, False, False, False, False]

    asyncio.run(visit())


@given(
    st.lists(
        st.tuples(st.sampled_from(["come", "patient", "leave", "cancel"]), st.integers(0, 30)), max_size=60
    )
)
def test_places_are_never_lost_and_never_shared(steps: list[tuple[str, int]]) -> None:
    async def visit() -> None:
        gate, everyone = Gate(running=3, queued=4), list[Visitor]()
        act: dict[str, Callable[[Visitor], Any]] = {
            "leave": lambda one: one.leave.set(),
            "cancel": lambda one: one.task.cancel(),
        }
        for name, number in steps:
            if name in act:
                if everyone:
                    act[name](everyone[number % len(everyone)])
            else:
                everyone.append(Visitor(gate, Deadline(FAR), patient=name == "patient"))
            if number % 3:
                await settle()
            assert sum(v.inside for v in everyone) <= 3
            assert gate.waiting <= 4
        await settle()
        assert gate.running == sum(v.inside for v in everyone)
        for one in everyone:
            one.leave.set()
        await asyncio.gather(*(v.task for v in everyone), return_exceptions=True)
        assert gate.running == gate.waiting == 0
        async with gate.inside(Deadline(FAR)) as waited:
            assert waited == pytest.approx(0, abs=1)

    asyncio.run(visit())
