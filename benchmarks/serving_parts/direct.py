"""The same retrieval and the same engine calls as the service's, in one process: no HTTP, no Ray.

Run as a module it reads one JSON object from its first line of input and prints one JSON line per question. The
student's own code puts the prompts together and reads what was written; the engine's part is timed apart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kard_ray.runtime.dialogue import Reply, Request
    from kard_ray.serving.engines import Draw, Engine, OnText
    from kard_ray.serving.plan import EnginePlan, ServicePlan
    from kard_ray.serving.routing import StudentCard

_SECONDS = 300.0  # of one question at most


@dataclass(kw_only=True, slots=True)
class Direct:
    """One question; times in seconds."""

    name: str
    seconds: float = 0.0  # passages, prompt, engine, reading
    search: float = 0.0
    engine: float = 0.0  # the engine's calls alone
    first: float | None = None  # until the first text
    engine_first: float | None = None  # of that, since the engine was asked
    answer: str | None = None
    text: str = ""
    prompt_tokens: int = 0
    generated_tokens: int = 0
    rounds: list[list[dict[str, Any]]] = field(
        default_factory=list
    )  # what the engine was asked, as completions


def plan_of(run_dir: str, overrides: Iterable[str]) -> tuple[ServicePlan, EnginePlan, StudentCard]:
    """What would be served: all of it, the engine of the student that is asked, and that student."""
    from kard_ray.serve import open_run, plan_service

    plan = plan_service(*open_run(run_dir, [*overrides, "serving.auth=false"]))
    card = plan.routing.first
    engine = next(one for one in plan.engines if one.name == card.engine)
    if engine.encoder_decoder:
        raise SystemExit(
            f"the student {card.name} is an encoder-decoder, which vLLM does not run; choose another one"
        )
    return plan, replace(engine, config=engine.config.model_copy(update={"device": device()})), card


def device() -> Literal["cpu", "gpu"]:
    """Where engines run here."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def bodies_of(run_dir: str, seed: int) -> list[dict[str, Any]]:
    """All questions of the run's benchmark, in an order that ``seed`` decides, as bodies of the service."""
    import random

    from kard_ray.pipeline import Pipeline, read_run_recipe
    from kard_ray.runtime.artifacts import RunDirectory

    run = RunDirectory(run_dir)
    known = sorted(Pipeline(read_run_recipe(run), run).questions(), key=lambda one: one.question_id)
    random.Random(seed).shuffle(known)
    unique = {
        (one.question, one.options): {"question": one.question, "options": list(one.options)} for one in known
    }
    return list(unique.values())


def ask_directly(
    run_dir: str, overrides: Sequence[str], bodies: Sequence[dict[str, Any]], *, at_once: int = 1,
    stream: bool = False, warm: int = 3,
) -> list[Direct]:  # fmt: skip
    """Ask in a process of its own, whose engine starts and ends with it; the first ``warm`` are asked, not told."""
    from kard_ray.runtime.engine import engine_environment

    _, engine, _ = plan_of(run_dir, overrides)
    environment = engine_environment(engine.config, device())
    given = {
        "run_dir": run_dir,
        "set": list(overrides),
        "bodies": list(bodies),
        "at_once": at_once,
        "warm": warm,
    }
    given["stream"] = stream
    done = subprocess.run(
        [sys.executable, "-m", "serving_parts.direct"], input=json.dumps(given) + "\n", text=True, check=False,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"asking directly ended with {done.returncode}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return [Direct(**json.loads(line)) for line in lines][warm:]


# -- in the process that asks ----------------------------------------------------------------------------------------

_NOW: ContextVar[_Question] = ContextVar("_NOW")


class _Question:
    """What the engine does for one question."""

    def __init__(self, direct: Direct) -> None:
        self.direct = direct
        self.open = 0
        self.began = time.perf_counter()


class _Noted:
    """An engine that notes what it is asked and how long that takes; see kard_ray.serving.engines.Engine."""

    def __init__(self, engine: Engine) -> None:
        self.inner = engine

    async def load(self, adapters: Sequence[str]) -> None:
        await self.inner.load(adapters)

    async def probe(self) -> None:
        await self.inner.probe()

    async def reply(self, request: Request, draw: Draw, adapter: str, on_text: OnText | None) -> Reply:
        now = _NOW.get()
        if not now.open:  # the one before has been answered: a round of its own
            now.direct.rounds.append([])
            now.began = time.perf_counter()
        now.direct.rounds[-1].append(_completion(request, draw))
        now.open += 1
        try:
            return await self.inner.reply(request, draw, adapter, self._first(now, on_text))
        finally:
            now.open -= 1
            if not now.open:
                now.direct.engine += time.perf_counter() - now.began

    def _first(self, now: _Question, on_text: OnText | None) -> OnText | None:
        if on_text is None:
            return None

        def tell(text: str) -> None:
            if now.direct.engine_first is None and text.strip():
                now.direct.engine_first = time.perf_counter() - now.began
            on_text(text)

        return tell


def _completion(request: Request, draw: Draw) -> dict[str, Any]:
    """The body that asks the same of vLLM's server."""
    from kard_ray.runtime.dialogue import Score, Write

    if isinstance(request, Score):
        prompt = [*request.prompt_ids, *request.begun, *request.scored]
        return {"prompt": prompt, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    assert isinstance(request, Write)
    return {
        "prompt": list(request.prompt_ids),
        "max_tokens": draw.max_tokens,
        "temperature": 0.0,
        "stop": [*draw.stop, *request.stop],
    }


async def _run(given: dict[str, Any]) -> None:
    from kard_ray.serving.logs import logger
    from kard_ray.serving.parts import Ask, Delta, Query, Written
    from kard_ray.serving.retriever import Searches
    from kard_ray.serving.student import Student
    from kard_ray.serving.vllm_engine import VllmEngine

    logger.setLevel(logging.WARNING)  # no line for each step, which the service's log has
    plan, engine_plan, card = plan_of(given["run_dir"], given["set"])
    mode = plan.routing.mode
    searches = Searches(plan.knowledge, reranked=mode in ("reranker", "multivector"))
    engine = VllmEngine(engine_plan, 120.0)
    student = Student(engine_plan, _Noted(engine))
    await student.load(engine_plan.students)

    async def one(at: int, body: dict[str, Any]) -> None:
        direct = Direct(name=str(at))
        _NOW.set(_Question(direct))
        began = time.perf_counter()
        passages: list[dict[str, Any]] = []
        if card.passages:
            text = " ".join([body["question"], *(body["options"] if card.with_options else ())])
            query = Query(text=text, k=card.passages, mode=mode, version=plan.routing.knowledge_version)
            passages = (await searches.find(query)).passages
        direct.search = time.perf_counter() - began
        ask = Ask(
            student=card.name, version=card.version, question=body["question"], options=body["options"],
            passages=passages, seconds=_SECONDS, samples=1, temperature=0.0, request_id=str(at),
        )  # fmt: skip
        written: Written | None = None
        if given["stream"]:
            async for events in student.stream(ask):
                for event in events:
                    if isinstance(event, Delta) and direct.first is None and event.text.strip():
                        direct.first = time.perf_counter() - began
                    written = event if isinstance(event, Written) else written
        else:
            written = await student.answer(ask)
        direct.seconds = time.perf_counter() - began
        assert written is not None
        direct.answer, direct.text = written.answer, written.rationale
        direct.prompt_tokens, direct.generated_tokens = written.prompt_tokens, written.generated_tokens
        told[at] = direct

    told: dict[int, Direct] = {}
    waiting = iter(list(enumerate(given["bodies"])))

    async def client() -> None:
        for at, body in waiting:
            await asyncio.create_task(one(at, body))

    for at, body in [next(waiting) for _ in range(min(given["warm"], len(given["bodies"])))]:
        await asyncio.create_task(one(at, body))
    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(given["at_once"])))
    print(f"{time.perf_counter() - began:.1f} s directly", file=sys.stderr, flush=True)
    for at in sorted(told):
        print(json.dumps(asdict(told[at])), flush=True)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.stdin.readline())))
