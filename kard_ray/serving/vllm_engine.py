"""A vLLM engine for the online service: requests stream, adapters come and go, and a hung engine does not stay."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from vllm import AsyncEngineArgs, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from kard_ray.runtime.dialogue import Find, Reply, Request, Score, Write
from kard_ray.runtime.engine import Adapters, engine_kwargs, lora_arguments, resolve_device
from kard_ray.runtime.engine_owner import own_engines
from kard_ray.serving.engines import Draw, OnText
from kard_ray.serving.logs import logger
from kard_ray.serving.plan import EnginePlan
from kard_ray.serving.stillness import Stillness

_LOOK_SECONDS = 0.5  # between two looks at an engine that may hang


class VllmEngine:
    """One engine; see :class:`kard_ray.serving.engines.Engine`. Made inside a running event loop."""

    def __init__(self, plan: EnginePlan, hung_after: float) -> None:
        """``hung_after``: seconds without any progress although there is something to do."""
        own_engines()
        more = {}
        if plan.adapter_rank:
            more = lora_arguments(Adapters(rank=plan.adapter_rank, count=plan.adapters))
        arguments = engine_kwargs(plan.config, resolve_device(plan.config.device), seed=plan.seed) | more
        self.engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=plan.model_path, **arguments))
        self.hung_after = hung_after
        self._processes = psutil.Process().children(recursive=True)  # once: to find them reads all of /proc
        self._names = itertools.count()
        self._loras: dict[str, LoRARequest] = {}
        self._lora_numbers = itertools.count(1)
        self._open = 0
        self._progress = time.monotonic()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def load(self, adapters: Sequence[str]) -> None:
        """See Engine. An adapter that is asked for no more is thrown out by the next ones, when room is needed.

        Raises ValueError when some students are adapters and others are not: on a CPU vLLM 0.32 writes wrong texts for
        requests without an adapter that are computed together with others (measured).
        """
        if len({bool(folder) for folder in [*adapters, *self._loras]}) > 1:
            raise ValueError("an engine's students are either all adapters or none of them")
        for folder in adapters:
            if folder and folder not in self._loras:
                request = LoRARequest(folder, next(self._lora_numbers), folder)
                await self.engine.add_lora(request)
                self._loras[folder] = request

    async def reply(self, request: Request, draw: Draw, adapter: str, on_text: OnText | None) -> Reply:
        """See Engine."""
        lora = self._loras[adapter] if adapter else None
        if isinstance(request, Write):
            return await self._write(request, draw, lora, on_text)
        if isinstance(request, Find):
            raise TypeError("a served student searches no further; its passages come with the question")
        return await self._score(request, lora)

    async def probe(self) -> None:
        """See Engine. Whether one that is at work hangs is seen by :meth:`_watch`; here it would wait for its turn."""
        if self._open:
            return
        parameters = SamplingParams(
            max_tokens=1, temperature=0.0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        lora = next(iter(self._loras.values()), None)  # not without one among others, as said above
        await self._generate([0, 0], parameters, lora, None)

    async def close(self) -> None:
        """End the engine's processes; for one that does not end with its own."""
        self._watching.cancel()
        self.engine.shutdown()
        await asyncio.sleep(0)

    async def _write(
        self, request: Write, draw: Draw, lora: LoRARequest | None, on_text: OnText | None
    ) -> Reply:
        parameters = SamplingParams(
            temperature=0.0 if request.greedy else draw.temperature,
            top_p=draw.top_p,
            top_k=draw.top_k or -1,
            max_tokens=draw.max_tokens,
            stop=[*draw.stop, *request.stop],
            seed=request.seed,
            logprobs=0 if draw.log_probs else None,  # 0: of the written tokens alone
            output_kind=RequestOutputKind.FINAL_ONLY if on_text is None else RequestOutputKind.DELTA,
        )
        written, seconds = await self._generate(request.prompt_ids, parameters, lora, on_text)
        log_probs = [
            _log_prob(of, token) for token, of in zip(written.tokens, written.log_probs, strict=False)
        ]
        return Reply(text=written.text, tokens=written.tokens, log_probs=log_probs, seconds=seconds)

    async def _score(self, request: Score, lora: LoRARequest | None) -> Reply:
        """All is given to the engine as a prompt, of which it tells the probabilities.

        Read from the prefix cache, it tells nothing of the cached part; so the cache may hold only what stands before
        the tokens to be scored, and else is left aside.
        """
        start = len(request.prompt_ids) + len(request.begun)
        ids = [*request.prompt_ids, *request.begun, *request.scored]
        seconds = 0.0
        written = _Written()
        for skip in (False, True):
            parameters = SamplingParams(
                max_tokens=1,
                temperature=0.0,
                prompt_logprobs=0,
                skip_reading_prefix_cache=skip,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            written, took = await self._generate(ids, parameters, lora, None)
            seconds += took
            if written.cached < start:
                break
        log_probs = [_log_prob(written.prompt[at], ids[at]) for at in range(start, len(ids))]
        return Reply(tokens=list(request.scored), log_probs=log_probs, seconds=seconds)

    async def _generate(
        self,
        ids: Sequence[int],
        parameters: SamplingParams,
        lora: LoRARequest | None,
        on_text: OnText | None,
    ) -> tuple[_Written, float]:
        began = time.perf_counter()
        written = _Written()
        if self._open == 0:
            self._progress = time.monotonic()
        self._open += 1
        try:
            stream = self.engine.generate(
                prompt=TokensPrompt(prompt_token_ids=list(ids)),
                sampling_params=parameters,
                request_id=f"served-{next(self._names)}",
                lora_request=lora,
            )
            async for output in stream:
                self._progress = time.monotonic()
                written.add(output)
                if on_text is not None and output.outputs[0].text:
                    on_text(output.outputs[0].text)
        except EngineDeadError:
            self._end("the engine has died")
        finally:
            self._open -= 1
        return written, time.perf_counter() - began

    async def _watch(self) -> None:
        """End this process when the engine does nothing although there is something to do."""
        stillness = Stillness()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            silent = now - self._progress if self._open else 0.0
            if stillness.look(now, _seconds_of_work(self._processes), silent, self.hung_after):
                self._end(f"the engine has done nothing for {silent:.0f} seconds")

    def _end(self, why: str) -> None:
        """End this process and the engine's, at once: Ray starts a new replica, and the ingress asks that one."""
        logger.error("ending this replica: %s", why)
        for child in psutil.Process().children(recursive=True):
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        os._exit(1)


def _seconds_of_work(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that ``processes`` have taken."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


class _Written:
    """What outputs add up to, whether they come whole or in pieces."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[int] = []
        self.log_probs: list[Any] = []  # by token, what vLLM tells of its place
        self.prompt: Sequence[Mapping[int, Any] | None] = ()
        self.cached = 0

    def add(self, output: RequestOutput) -> None:
        one = output.outputs[0]
        self.text += one.text
        self.tokens += one.token_ids
        self.log_probs += one.logprobs or ()
        self.prompt = output.prompt_logprobs or self.prompt
        self.cached = output.num_cached_tokens or self.cached


def _log_prob(told: Mapping[int, Any] | None, token: int) -> float:
    """What vLLM tells of ``token`` at one place; only a prompt's first place has nothing."""
    if told is None:
        raise ValueError(
            "vLLM told no probabilities of the prompt's first token, which nothing stands before"
        )
    return float(told[token].logprob)
