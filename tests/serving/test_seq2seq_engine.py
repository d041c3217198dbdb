"""An encoder-decoder engine with a long queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from kard_ray.runtime.dialogue import Write
from kard_ray.serving.engines import Draw
from kard_ray.serving.plan import ServicePlan
from kard_ray.serving.seq2seq_engine import Seq2SeqEngine


def test_a_long_queue_does_not_look_like_a_hung_model(
    plan: ServicePlan, run: Callable[[Awaitable[Any]], Any]
) -> None:
    engine = Seq2SeqEngine(plan.engines[0])
    draw = Draw(temperature=1.0, top_p=1.0, top_k=0, max_tokens=20, stop=(), log_probs=False)

    async def ask() -> int:
        asked = [  # with a seed each is written alone
            asyncio.create_task(
                engine.reply(Write(prompt_ids=[5, 6], seed=seed), replace(draw, top_k=seed), "", None)
            )
            for seed in range(20)
        ]
        await asyncio.sleep(0)
        await engine.probe()
        left = sum(not task.done() for task in asked)
        await asyncio.gather(*asked)
        return left

    assert run(ask()) >= 18
