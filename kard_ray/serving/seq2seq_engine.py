"""Encoder-decoder students in transformers: what comes while a batch is written goes together into the next."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kard_ray.runtime.dialogue import Reply, Request, Score, Write
from kard_ray.runtime.seq2seq import Seq2SeqModel
from kard_ray.serving.engines import Draw, OnText
from kard_ray.serving.plan import EnginePlan

_LEAST_TEMPERATURE = 0.01  # as in vLLM: logits divided by less overflow, and nothing can be drawn from them


@dataclass(kw_only=True, slots=True, eq=False)
class _Asked:
    """One request on its way."""

    request: Request
    draw: Draw
    on_text: OnText | None
    answer: asyncio.Future[Reply]


class Seq2SeqEngine:
    """One model and the thread that it works in; see :class:`kard_ray.serving.engines.Engine`."""

    def __init__(self, plan: EnginePlan) -> None:
        sampling = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_tokens": 1, "stop": []}
        self.model = Seq2SeqModel(plan.model_path, plan.config.dtype, sampling, plan.seed)
        self.batch = plan.config.batch_rows
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="seq2seq")
        self._waiting: list[_Asked] = []
        self._working: asyncio.Task[None] | None = None

    async def load(self, adapters: Sequence[str]) -> None:
        """See Engine; encoder-decoder students are no adapters."""
        if any(adapters):
            raise ValueError("encoder-decoder students are served with their whole weights")

    async def reply(self, request: Request, draw: Draw, adapter: str, on_text: OnText | None) -> Reply:
        """See Engine."""
        return await self._ask(request, draw, on_text, at=len(self._waiting))

    async def probe(self) -> None:
        """See Engine; before all that waits, because a long queue is no sign of a hung model."""
        draw = Draw(temperature=0.0, top_p=1.0, top_k=0, max_tokens=1, stop=(), log_probs=False)
        await self._ask(Write(prompt_ids=[0]), draw, None, at=0)

    async def _ask(self, request: Request, draw: Draw, on_text: OnText | None, *, at: int) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.insert(at, _Asked(request=request, draw=draw, on_text=on_text, answer=answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._next_batch()
            if not batch:
                continue
            try:
                replies = await loop.run_in_executor(self._thread, self._answer, batch, loop)
            except Exception as error:  # noqa: BLE001 - told to each of those that wait for this batch
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
            else:
                for one, reply in zip(batch, replies, strict=True):
                    if not one.answer.done():
                        one.answer.set_result(reply)

    def _next_batch(self) -> list[_Asked]:
        """Those that came first and go together: of one kind, drawn in the same way; drawn with a seed, alone."""
        self._waiting = [one for one in self._waiting if not one.answer.done()]
        if not self._waiting:
            return []
        first = self._waiting[0]
        together = [one for one in self._waiting if _kind(one) == _kind(first)][: self.batch]
        if isinstance(first.request, Write) and first.request.seed is not None:
            together = [first]
        self._waiting = [one for one in self._waiting if one not in together]
        return together

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _answer(self, batch: Sequence[_Asked], loop: asyncio.AbstractEventLoop) -> list[Reply]:
        scores = [one.request for one in batch if isinstance(one.request, Score)]
        if scores:
            return self.model.score(scores)
        draw, steps = batch[0].draw, _Steps(self.model, batch, loop)
        drawn = copy.copy(self.model)  # the same weights, other settings
        drawn.max_tokens, drawn.stop = draw.max_tokens, list(draw.stop)
        drawn.drawing = {"do_sample": False, "stopping_criteria": [steps]}
        if draw.temperature > 0:
            drawn.drawing |= {
                "do_sample": True,
                "temperature": max(draw.temperature, _LEAST_TEMPERATURE),
                "top_p": draw.top_p,
                "top_k": draw.top_k,
            }
        writes = [one.request for one in batch if isinstance(one.request, Write)]
        return drawn.write(writes, log_probs=draw.log_probs)


def _kind(one: _Asked) -> tuple[bool, Draw]:
    return isinstance(one.request, Score), one.draw


class _Steps:
    """Told of all tokens after each step; passes on what can be read of them, and ends texts that nobody waits for."""

    def __init__(self, model: Seq2SeqModel, batch: Sequence[_Asked], loop: asyncio.AbstractEventLoop) -> None:
        self.model, self.batch, self.loop = model, batch, loop
        self.sent = [""] * len(batch)

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """``input_ids`` (rows, start token and tokens so far); returns one bool per row: whether it ends here."""
        ends = [one.answer.done() for one in self.batch]
        for at, one in enumerate(self.batch):
            stops = (*one.draw.stop, *(one.request.stop if isinstance(one.request, Write) else ()))
            if ends[at] or (one.on_text is None and not stops):
                continue
            text = str(self.model.tokenizer.decode(input_ids[at, 1:].tolist(), skip_special_tokens=True))
            whole = text
            for stop in stops:
                text = text.split(stop, 1)[0]
            ends[at] = len(text) < len(whole)
            if one.on_text is not None:
                self._pass_on(
                    at, one.on_text, text if ends[at] else text[: len(text) - _held_back(text, stops)]
                )
        return self.model.torch.tensor(ends, dtype=self.model.torch.bool, device=input_ids.device)

    def _pass_on(self, at: int, on_text: OnText, text: str) -> None:
        if len(text) > len(self.sent[at]) and text.startswith(self.sent[at]):
            self.loop.call_soon_threadsafe(on_text, text[len(self.sent[at]) :])
            self.sent[at] = text


def _held_back(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of ``text`` that may yet change: half a character, or the beginning of a stop string."""
    held = len(text) - len(text.rstrip("\ufffd"))
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), held, -1):
            if text.endswith(stop[:length]):
                held = length
                break
    return held
