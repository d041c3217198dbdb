"""One vLLM engine in this process: streams, shared adapters, scored options, requests that nobody waits for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from kard_ray.runtime.dialogue import Reply, Score, Write
from kard_ray.runtime.engine import EngineConfig, engine_environment
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.parts import Ask, Delta, StudentEvent, Written
from kard_ray.serving.plan import EnginePlan, StudentPlan, students_as_json, students_from_json
from kard_ray.serving.student import Student
from tests.serving.world import QUESTION, student_plan

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

CONFIG = EngineConfig(dtype="float32", device="cpu", max_model_tokens=256, max_sequences=8, kv_cache_gib=1)
Run = Callable[[Awaitable[Any]], Any]


def write_adapter(base: Path, folder: Path, seed: int) -> str:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
            LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False),
        )
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def adapters(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[StudentPlan]:
    """Two adapters on one model; what they write can be read."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        student_plan(name, llama_folder, adapter=write_adapter(llama_folder, folder / name, seed))
        for name, seed in (("one", 2), ("two", 3))
    ]


@contextmanager
def started(
    model: Path, loop: asyncio.AbstractEventLoop, *students: StudentPlan, rank: int
) -> Iterator[Student]:
    from kard_ray.serving.vllm_engine import VllmEngine

    plan = EnginePlan(
        name="students", model_path=str(model), encoder_decoder=False, config=CONFIG, seed=0, students=(),
        adapter_rank=rank, adapters=2,
    )  # fmt: skip

    async def start() -> Student:
        made = Student(plan, VllmEngine(plan, hung_after=60))
        await made.load(students)
        return made

    with pytest.MonkeyPatch.context() as patch:
        for name, value in engine_environment(CONFIG, "cpu").items():
            patch.setenv(name, value)
        made = loop.run_until_complete(start())
        yield made
        loop.run_until_complete(made.engine.close())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def student(llama_folder: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Student]:
    """The model itself, and the same with its options scored."""
    plans = student_plan("base", llama_folder), student_plan("scored", llama_folder, score_options="sum")
    with started(llama_folder, loop, *plans, rank=0) as made:
        yield made


def ask(name: str, **more: Any) -> Ask:
    fields: dict[str, Any] = {
        "student": name,
        "version": f"train/{name}/0123456789abcdef",
        "passages": [{"passage_id": "p", "title": "Arlen", "text": "Arlen lies on the Dorn.", "score": 1.0}],
        "seconds": 60.0,
    }
    return Ask(**{**QUESTION, **fields, **more})


async def streamed(student: Student, asked: Ask) -> list[StudentEvent]:
    return [event async for events in student.stream(asked) for event in events]


def test_a_stream_comes_in_pieces_that_add_up_to_the_whole_answer(student: Student, run: Run) -> None:
    whole = run(student.answer(ask("base")))
    *deltas, written = run(streamed(student, ask("base")))
    assert isinstance(written, Written)
    assert len(deltas) > 3
    assert "".join(one.text for one in deltas).strip() == written.rationale.strip() == whole.rationale.strip()
    assert written.generated_tokens == 12
    assert written.samples[0].cut
    assert 0 < (written.confidence or 0) <= 1


def test_scored_options_conclude_every_sample(student: Student, run: Run) -> None:
    *deltas, written = run(streamed(student, ask("scored", samples=2, temperature=1.0, seed=3)))
    assert written.answer in QUESTION["options"]
    assert [sample.answer in QUESTION["options"] for sample in written.samples] == [True, True]
    for at, sample in enumerate(written.samples):
        text = "".join(one.text for one in deltas if isinstance(one, Delta) and one.sample == at)
        assert text.split() == sample.text.split()
        assert sample.text.endswith(f"So the answer is {sample.answer}.")


def test_the_warm_up_is_as_long_as_the_longest_question_and_scored_as_its_options_are(
    student: Student, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    reply = student.engine.reply

    async def noted(request: Any, *more: Any) -> Reply:
        asked.append((request, await reply(request, *more)))
        return asked[-1][1]

    monkeypatch.setattr(student.engine, "reply", noted)
    run(student.warm_up())
    assert len({request.prompt_ids[0] for request, _ in asked}) == len(asked) > 1  # no prompt begins another
    for request, answered in asked:
        assert isinstance(request, Score)
        assert len(request.prompt_ids) + len(request.scored) == 200 + 12 - 1
        assert len(answered.log_probs) == len(request.scored)

    scored = next(key for key in student._students if key[0] == "scored")
    monkeypatch.delitem(student._students, scored)
    asked.clear()
    run(student.warm_up())
    assert [(type(request), len(request.prompt_ids)) for request, _ in asked] == [(Write, 211)] * 2


def test_what_nobody_waits_for_is_given_up(student: Student, run: Run) -> None:
    engine: Any = student.engine

    async def leave() -> int:
        task = asyncio.create_task(student.answer(ask("base", samples=8, temperature=1.0)))
        while not engine._open and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        left: int = engine.engine.get_num_unfinished_requests()
        return left

    assert run(leave()) == 0
    with pytest.raises(ServiceError, match="deadline"):
        run(student.answer(ask("base", seconds=0.0)))


def test_a_hung_engine_is_noticed(student: Student, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = student.engine
    noticed = asyncio.Event()
    children = psutil.Process().children(recursive=True)
    monkeypatch.setattr(engine, "_end", lambda why: noticed.set())
    monkeypatch.setattr(engine, "hung_after", 0.5)
    (core,) = [child.pid for child in children if "EngineCore" in child.name() or "VLLM" in child.name()]

    async def hang() -> None:
        os.kill(core, signal.SIGSTOP)
        task = asyncio.create_task(student.answer(ask("base")))
        try:
            await asyncio.wait_for(noticed.wait(), 20)
        finally:
            os.kill(core, signal.SIGCONT)
        await task

    run(hang())


def test_adapters_share_the_engine_and_are_loaded_while_it_runs(
    llama_folder: Path, adapters: list[StudentPlan], loop: asyncio.AbstractEventLoop, run: Run
) -> None:
    with started(llama_folder, loop, adapters[0], rank=4) as student:

        async def both() -> list[Written]:
            return await asyncio.gather(*(student.answer(ask(name)) for name in ("one", "two", "one")))

        with pytest.raises(ServiceError, match="not loaded yet"):
            run(student.answer(ask("two")))
        run(student.load(students_from_json(students_as_json(tuple(adapters)))))
        alone = [run(student.answer(ask(name))).rationale for name in ("one", "two")]
        assert [written.rationale for written in run(both())] == [*alone, alone[0]]
        assert alone[0] != alone[1]
        run(student.load([adapters[0], replace(adapters[1], version="train/two/next")]))
        assert run(student.answer(ask("two"))).version == adapters[1].version  # chosen before the change
        assert run(student.answer(ask("two", version="train/two/next"))).version == "train/two/next"
        assert run(student.answer(ask("two", version="train/two/other"))).version == "train/two/next"
        with pytest.raises(ValueError, match="all adapters or none"):
            run(student.load([student_plan("base", llama_folder)]))
