"""The part that answers: the students of one engine, asked as prediction asks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.asking import Asking
from kard_ray.evaluation.prompts import STUDENT, Manner, prompt_ids
from kard_ray.evaluation.reading import read_samples
from kard_ray.runtime.dialogue import ADAPTER, Find, Reply, Request, Score, Write
from kard_ray.serving.deadline import Deadline
from kard_ray.serving.engines import Draw, Engine, converse
from kard_ray.serving.errors import ServiceError, invalid
from kard_ray.serving.logs import told
from kard_ray.serving.parts import NOT_READY, Ask, Delta, Restart, SampleText, StudentEvent, Written
from kard_ray.serving.plan import EnginePlan, StudentPlan
from kard_ray.student.rendering import Renderer, opening

_AT_ONCE = 2  # questions of a warm-up
_PASSAGE = ("passage_id", "title", "text", "score")


class Student:
    """The students of one engine; see :class:`kard_ray.serving.parts.Parts` for what they are asked."""

    def __init__(self, plan: EnginePlan, engine: Engine) -> None:
        self.plan, self.engine = plan, engine
        self._students: dict[tuple[str, str], _Loaded] = {}

    async def load(self, students: Sequence[StudentPlan]) -> None:
        """Have ``students`` ready; those that are gone stay for requests that are on their way, until the next change.

        A student is only offered when its tokenizer and its adapter are there.
        """
        loop = asyncio.get_running_loop()
        before = {key: loaded for key, loaded in self._students.items() if not loaded.leaving}
        wanted: dict[tuple[str, str], _Loaded] = {}
        for plan in students:
            known = before.get((plan.name, plan.version))
            if known is None or known.plan != plan:
                known = _Loaded(plan=plan, renderer=await loop.run_in_executor(None, plan.manner.renderer))
            wanted[plan.name, plan.version] = known
        await self.engine.load([loaded.plan.manner.adapter for loaded in wanted.values()])
        leaving = {key: replace(one, leaving=True) for key, one in before.items() if key not in wanted}
        self._students = wanted | leaving

    async def warm_up(self) -> None:
        """Have a vLLM engine do the largest thing that its students are asked for, before anybody asks.

        The memory that it takes is then taken at the start, not in the middle of a rush: a machine that is too small
        for it never says that it is ready. On a CPU two prompts of 2,046 tokens, scored, took 1.8 GiB beside 3.3
        (SmolLM2-135M).
        """
        if self.plan.encoder_decoder:
            return
        plans = [loaded.plan for loaded in self._students.values()]
        longest = max(plan.manner.rendering.max_prompt_tokens + plan.sampling.max_tokens for plan in plans)
        tokens = min(longest, self.plan.config.max_model_tokens) - 1  # behind them one is written
        scored = any(plan.manner.score_options for plan in plans)
        draw = Draw(temperature=0.0, top_p=1.0, top_k=0, max_tokens=1, stop=(), log_probs=False)
        async with asyncio.TaskGroup() as group:
            for token in range(_AT_ONCE):  # others for each, so that none is read from the prefix cache
                prompt, rest = [token] * (tokens // 2), [token] * (tokens - tokens // 2)
                request = (
                    Score(prompt_ids=prompt, begun=[], scored=rest)
                    if scored
                    else Write(prompt_ids=prompt + rest)
                )
                group.create_task(self.engine.reply(request, draw, plans[0].manner.adapter, None))

    async def answer(self, ask: Ask) -> Written:
        """The reply to ``ask``; raises ServiceError."""
        async with Deadline(ask.seconds).hold():
            return await self._asked(ask, None)

    async def stream(self, ask: Ask) -> AsyncGenerator[list[StudentEvent], None]:
        """The reply as it is written, in lists of what has come since the last one; raises ServiceError."""
        events: list[StudentEvent] = []
        news = asyncio.Event()

        def tell(event: StudentEvent) -> None:
            events.append(event)
            news.set()

        async def whole() -> None:
            async with Deadline(ask.seconds).hold():
                tell(await self._asked(ask, tell))

        task = asyncio.create_task(whole())
        task.add_done_callback(lambda _: news.set())
        try:
            while events or not task.done():
                await news.wait()
                news.clear()
                if events:
                    batch, events[:] = list(events), []
                    yield batch
            await task  # raises what ended it
        finally:
            task.cancel()

    async def _asked(self, ask: Ask, tell: Callable[[StudentEvent], None] | None) -> Written:
        loaded = self._find(ask)
        one = _OneQuestion(self, loaded, ask, tell)
        written = await one.answer()
        told(
            "written",
            request_id=ask.request_id,
            model=ask.student,
            model_version=written.version,
            prompt_tokens=written.prompt_tokens,
            generated_tokens=written.generated_tokens,
            milliseconds=round(written.seconds * 1000, 3),
        )
        return written

    def _find(self, ask: Ask) -> _Loaded:
        """The student of this version, else of this name: a change reaches the ingress and engines one by one."""
        exact = self._students.get((ask.student, ask.version))
        if exact is not None:
            return exact
        named = [one for one in self._students.values() if one.plan.name == ask.student]
        if not named:
            raise ServiceError(503, NOT_READY, f"the student {ask.student} is not loaded yet.", None, 1)
        return min(named, key=lambda one: one.leaving)

    def has(self, name: str, version: str) -> bool:
        """Whether this very student can be asked."""
        return (name, version) in self._students


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loaded:
    """A student that can be asked."""

    plan: StudentPlan
    renderer: Renderer
    leaving: bool = False  # asked only by requests that chose it before the last change


class _ServedAsking(Asking):
    """The dialogue of one question, with a renderer that is there already."""

    def __init__(self, manner: Manner, renderer: Renderer) -> None:
        self.manners, self.renderers = [manner], [renderer]
        self.search = _NoSearch()


class _NoSearch:
    """Passages come with the question; rounds of retrieval are not served."""

    def begin(self, requests: Sequence[Find]) -> Future[Any]:
        raise TypeError("a served student searches no further; its passages come with the question")


@dataclass(kw_only=True, slots=True)
class _Told:
    """What has been streamed of one sample."""

    text: str = ""
    turns: set[int] = field(default_factory=set)  # passes that it has text of


class _OneQuestion:
    """One question on its way through a student."""

    def __init__(
        self, student: Student, loaded: _Loaded, ask: Ask, tell: Callable[[StudentEvent], None] | None
    ) -> None:
        self.engine, self.config = student.engine, student.plan.config
        self.plan, self.ask, self.tell = loaded.plan, ask, tell
        manner, sampling = loaded.plan.manner, loaded.plan.sampling
        temperature = sampling.temperature if ask.temperature is None else ask.temperature
        self.samples = ask.samples or manner.samples
        self.draw = Draw(
            temperature=temperature,
            top_p=sampling.top_p if ask.top_p is None else ask.top_p,
            top_k=sampling.top_k,
            max_tokens=min(sampling.max_tokens, ask.max_tokens or sampling.max_tokens),
            stop=(*sampling.stop, *ask.stop),
            log_probs=loaded.plan.log_probs and self.samples == 1,
        )
        # Whether to ask with passages is decided here, so that the prompt alone is asked first.
        self.manner = replace(
            manner,
            samples=self.samples,
            seed=ask.seed if temperature > 0 else None,
            ask_below=None,
            knowledge=None,
        )
        self.asking = _ServedAsking(self.manner, loaded.renderer)
        self.renderer = loaded.renderer
        self.told = [_Told() for _ in range(self.samples)]
        self.question = Question(
            question_id=ask.request_id, split="test", question=ask.question, options=tuple(ask.options)
        )

    async def answer(self) -> Written:
        passages = [{name: p[name] for name in _PASSAGE} for p in self.ask.passages][: self.manner.passages]
        below = self.plan.manner.ask_below
        if below is None or not passages or self.samples > 1:
            return self._written([await self._row(passages)], len(passages))
        alone = await self._row([])
        confidence = alone["samples"][0]["confidence"]
        if confidence is not None and confidence >= below:
            return self._written([alone], 0)
        if self.tell is not None:
            self.tell(Restart())
            self.told = [_Told() for _ in range(self.samples)]
        return self._written([alone, await self._row(passages)], len(passages))

    async def _row(self, passages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The finished dialogue with ``passages``."""
        row: dict[str, Any] = {
            "prediction_id": self.ask.request_id,
            "question_id": self.ask.request_id,
            "source": "none",
            "pattern": "",
            "question": self.ask.question,
            "options": list(self.ask.options),
            "passages": passages,
            "searches": [],
            "alone_ids": None,
            STUDENT: 0,
            ADAPTER: self.manner.adapter,
        }
        row["prompt_ids"] = prompt_ids(self.renderer, self.manner, row, passages, ())
        self._require_room(len(row["prompt_ids"]))
        finished = await converse(self.asking(row), self._reply)
        if self.tell is not None:
            self._tell_rest(finished)
        return finished

    def _require_room(self, prompt: int) -> None:
        most = self.config.max_model_tokens - self.draw.max_tokens
        if prompt > most:
            raise invalid(
                "question", f"with its options it has {prompt} tokens, and this student takes {most} at most."
            )

    async def _reply(self, request: Request, turn: int, at: int) -> Reply:
        on_text = None
        if self.tell is not None and isinstance(request, Write):

            def on_text(text: str) -> None:
                self._tell_text(at, turn, text)

        if isinstance(request, Write):
            self._require_room(len(request.prompt_ids))
        return await self.engine.reply(request, self.draw, self.manner.adapter, on_text)

    # -- streaming ---------------------------------------------------------------------------------------------------

    def _tell_text(self, at: int, turn: int, text: str) -> None:
        told = self.told[at]
        if turn not in told.turns:  # the beginning of a pass, as the whole text will have it
            text = text.lstrip()
            if not text:
                return
            told.turns.add(turn)
            cues = self.manner.cues
            begun = opening(cues[turn]) if turn < len(cues) else ""
            lead = "\n" if told.text else ""
            text = f"{lead}{begun} {text}" if begun else f"{lead}{text}"
        self._tell(at, text)

    def _tell_rest(self, finished: Mapping[str, Any]) -> None:
        """What has come to a sample's text without being written: a conclusion that was scored."""
        for at, sample in enumerate(finished["samples"]):
            whole, begun = _whole(sample), self.told[at].text.rstrip()
            rest = (
                whole[len(self.told[at].text) :]
                if whole.startswith(self.told[at].text)
                else whole[len(begun) :]
            )
            if rest and whole.startswith(begun):
                self._tell(at, rest)

    def _tell(self, at: int, text: str) -> None:
        assert self.tell is not None  # else nothing streams
        self.told[at].text += text
        self.tell(Delta(sample=at, text=text))

    # -- what it came to ---------------------------------------------------------------------------------------------

    def _written(self, rows: Sequence[Mapping[str, Any]], shown: int) -> Written:
        """The reply; ``rows`` are all times that the student was asked, the last one counts."""
        row = rows[-1]
        read, samples = read_samples(row, self.question, self.manner.form)
        calls = [call for one in rows for call in one["calls"]]
        lengths = row["calls"][-1]["generated_tokens"] if row["calls"] else []
        return Written(
            version=self.plan.version,
            answer=read["prediction_text"],
            option=read["prediction"],
            rationale=read["generated_text"],
            confidence=read["confidence"],
            samples=[
                SampleText(
                    text=sample["generated_text"],
                    answer=sample["prediction_text"],
                    option=self._option(sample["prediction_text"]),
                    cut=self.manner.score_options is None
                    and len(lengths) == len(samples)
                    and lengths[at] >= self.draw.max_tokens,
                )
                for at, sample in enumerate(samples)
            ],
            shown=shown,
            prompt_tokens=sum(call["prompt_tokens"] for call in calls),
            generated_tokens=sum(sum(call["generated_tokens"]) for call in calls),
            seconds=sum(one["seconds"] for one in rows),
        )

    def _option(self, text: str | None) -> int | None:
        options = self.question.options
        return options.index(text) if text is not None and text in options else None


def _whole(sample: Mapping[str, Any]) -> str:
    return "\n".join(text for text in sample["texts"] if text)
