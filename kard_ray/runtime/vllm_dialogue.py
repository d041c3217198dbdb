"""Dialogues with a vLLM engine: Ray's own engine actor, asked as often as a row needs it.

Ray's stage sends one request per row, keeps one of several samples, and leaves prefix hits out. So this actor keeps
what Ray does for the engine (starting it, placing its workers, limiting what is pending, loading adapters, ending
itself when the engine is dead, so that Ray starts another one) and talks to vLLM's own interface.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF
from vllm import SamplingParams
from vllm.inputs import TokensPrompt
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError

from kard_ray.runtime.dialogue import ADAPTER, Ask, Find, Reply, Request, Score, Write
from kard_ray.runtime.dialogue_search import Gathering


class DialogueEngine(vLLMEngineStageUDF):
    """One vLLM engine that answers the dialogues of whole batches; an actor's callable.

    ``sampling`` are vLLM's sampling parameters of every text, ``log_probs`` whether texts come with those of their
    tokens. Finished rows have the columns of ``schema``.
    """

    def __init__(
        self, *, ask: Callable[[], Ask], schema: pa.Schema, sampling: Mapping[str, Any], log_probs: bool, **engine: Any
    ) -> None:  # fmt: skip
        super().__init__(**engine)
        self.ask, self.schema = ask(), schema
        self.sampling, self.log_probs = sampling, log_probs
        self._find = Gathering(self.ask)
        self._names = itertools.count()

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        """The finished rows of ``batch``, in its order."""
        rows = await asyncio.gather(*(self._converse(row) for row in batch.to_pylist()))
        yield pa.Table.from_pylist(rows, schema=self.schema)

    async def _converse(self, row: Mapping[str, Any]) -> dict[str, Any]:
        dialogue = self.ask(row)
        try:
            requests: Sequence[Request] = next(dialogue)
            while True:
                try:
                    replies = await asyncio.gather(*(self._reply(r, row[ADAPTER]) for r in requests))
                except EngineDeadError:
                    # Raised, it would be tried again on this actor for ever; a dead process Ray replaces.
                    os._exit(1)
                except Exception as error:  # noqa: BLE001 - what one row's request ends in becomes its error
                    return self.ask.failed(row, f"{type(error).__name__}: {error}")
                requests = dialogue.send(replies)
        except StopIteration as end:
            finished: dict[str, Any] = end.value
            return finished

    async def _reply(self, request: Request, adapter: str) -> Reply:
        if isinstance(request, Find):
            return Reply(found=await self._find(request))
        if isinstance(request, Write):
            return await self._write(request, adapter)
        return await self._score(request, adapter)

    async def _write(self, request: Write, adapter: str) -> Reply:
        own: dict[str, Any] = {"stop": [*self.sampling["stop"], *request.stop]}
        if request.greedy:
            own |= {"temperature": 0.0, "top_p": 1.0, "top_k": -1}
        parameters = SamplingParams(
            **{**self.sampling, **own},
            seed=request.seed,
            logprobs=0 if self.log_probs else None,  # 0: of the written tokens alone
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output, seconds = await self._generate(request.prompt_ids, parameters, adapter)
        written = output.outputs[0]
        tokens = list(written.token_ids)
        log_probs = [_log_prob(of, token) for token, of in zip(tokens, written.logprobs or (), strict=False)]
        return Reply(text=written.text, tokens=tokens, log_probs=log_probs, seconds=seconds)

    async def _score(self, request: Score, adapter: str) -> Reply:
        """All is given to the engine as a prompt, of which it tells the probabilities.

        By default vLLM computes such a prompt anew as a whole, and its logits with it. Read from the prefix cache, it
        tells nothing of the cached part; so the cache may hold only what stands before the tokens to be scored.
        """
        start = len(request.prompt_ids) + len(request.begun)
        ids = [*request.prompt_ids, *request.begun, *request.scored]
        seconds = 0.0
        for skip in (False, True):
            parameters = SamplingParams(
                max_tokens=1,
                temperature=0.0,
                prompt_logprobs=0,
                skip_reading_prefix_cache=skip,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            output, took = await self._generate(ids, parameters, adapter)
            seconds += took
            if (output.num_cached_tokens or 0) < start:
                break
        told = output.prompt_logprobs or ()
        log_probs = [_log_prob(told[at], ids[at]) for at in range(start, len(ids))]
        return Reply(tokens=list(request.scored), log_probs=log_probs, seconds=seconds)

    async def _generate(
        self, ids: Sequence[int], parameters: SamplingParams, adapter: str
    ) -> tuple[RequestOutput, float]:
        lora = await self.llm._maybe_get_lora_request({"model": adapter} if adapter else {})
        async with self.llm.semaphore:
            began = time.perf_counter()
            stream = self.llm.engine.generate(
                prompt=TokensPrompt(prompt_token_ids=list(ids)),
                sampling_params=parameters,
                request_id=f"dialogue-{next(self._names)}",
                lora_request=lora,
            )
            async for output in stream:
                if output.finished:
                    return output, time.perf_counter() - began
        raise RuntimeError("vLLM ended a request without finishing it")


def _log_prob(told: Mapping[int, Any] | None, token: int) -> float:
    """What vLLM tells of ``token`` at one place; only a prompt's first place has nothing."""
    if told is None:
        raise ValueError(
            "vLLM told no probabilities of the prompt's first token, which nothing stands before"
        )
    return float(told[token].logprob)
