"""The teacher behind an OpenAI-compatible endpoint: one asynchronous client, its replies written as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import ray
from pydantic import SecretStr

from kard_ray.runtime.engine import SamplingConfig
from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.backends.base import Reply, Request
from kard_ray.teacher.backends.endpoint import EndpointClient, EndpointConfig
from kard_ray.teacher.backends.endpoint_key import read_key
from kard_ray.teacher.backends.limits import BudgetReachedError
from kard_ray.teacher.backends.work import Messages, Style, reply_row, tally

_FAILURES = 100  # requests in a row that all failed after their retries: the endpoint is down
_BLOCK_ITEMS = 4  # small: a block ends with its slowest request


class Asking:
    """Asks for PROMPTS and keeps each reply at once; an actor's asynchronous callable.

    Ray Data repeats the blocks of an actor that died. What it had finished is in the ledger by then, which the next
    one reads first, so only requests in flight are repeated.
    """

    def __init__(
        self, config: EndpointConfig, model: str, sampling: SamplingConfig, style: Style, seed: int,
        key: SecretStr | None, openings: dict[str, list[dict[str, str]]], ledger_url: str,
    ) -> None:  # fmt: skip
        ledger = Ledger(ledger_url)
        self.finished = ledger.finished()
        self.writer = ledger.writer()
        self.openings = openings
        self.client = EndpointClient(
            config,
            model,
            sampling,
            style.template,
            seed,
            ledger.tokens(),
            key=key,
            label=style.label,
            schema=style.schema,
        )
        self.calls_for = config.samples_per_request
        self.stopped = ""
        self.failed_in_a_row, self.most_failures = 0, max(_FAILURES, 2 * config.concurrency)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        """PROMPTS in, TALLY out."""
        kept = await asyncio.gather(*(self._ask(row) for row in batch.to_pylist()))
        self.writer.flush()  # before the rows count as done: elsewhere than on a local disk some still wait
        yield tally([row for rows in kept for row in rows], stopped=self.stopped)

    async def _ask(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All samples of one item that are not finished; each call's replies are kept when it returns."""
        keys = dict(zip(row["samples"], row["keys"], strict=True))
        wanted = [sample for sample, key in keys.items() if key not in self.finished]
        together = self.calls_for
        parts = [wanted[at : at + together] for at in range(0, len(wanted), together)]
        kept = await asyncio.gather(*(self._call(row, tuple(part), keys) for part in parts))
        return [found for rows in kept for found in rows]

    async def _call(
        self, row: Mapping[str, Any], samples: tuple[int, ...], keys: Mapping[int, str]
    ) -> list[dict[str, Any]]:
        if self.stopped:
            return []
        turn = {"role": "user", "content": row["turn"]}
        request = Request(
            question_id=row["item_id"],
            samples=samples,
            messages=(*self.openings[row["opening"]], turn),
        )
        kept: list[dict[str, Any]] = []

        def keep(replies: Sequence[Reply]) -> None:
            rows = [
                reply_row(
                    key=keys[reply.sample],
                    item_id=row["item_id"],
                    sample=reply.sample,
                    text=reply.text,
                    prompt_tokens=reply.prompt_tokens,
                    generated_tokens=reply.generated_tokens,
                    finish_reason=reply.finish_reason,
                    error=reply.error,
                )
                for reply in replies
            ]
            self.writer.append(rows)
            self._watch(rows)
            kept.extend(rows)

        try:
            await self.client.ask(request, keep)
        except BudgetReachedError as reached:
            self.stopped = str(reached)
        return kept

    def _watch(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stop when nothing succeeds any more: an outage must not make failures of all that is left."""
        for row in rows:
            self.failed_in_a_row = self.failed_in_a_row + 1 if row["error"] else 0
            if self.failed_in_a_row >= self.most_failures:
                self.stopped = (
                    f"the last {self.failed_in_a_row} requests failed, the last one so: {row['error']}"
                )


class Remote:
    """The backend of :class:`EndpointConfig`."""

    block_items = _BLOCK_ITEMS

    def __init__(
        self, config: EndpointConfig, model: str, sampling: SamplingConfig, style: Style, seed: int
    ) -> None:
        self._config, self._model, self._sampling = config, model, sampling
        self._style, self._seed = style, seed
        # Read here: the environment of a worker may be another machine's.
        self._key = read_key(url=config.url, key_env=config.key_env, key_file=config.key_file)

    def identity(self) -> Mapping[str, Any]:
        """Model name, sampling, template, seed; not the address, and never the key."""
        return {
            "model": self._model,
            "endpoint": self._config.content(),
            "sampling": self._sampling.content(),
            "style": self._style.identity(),
            "seed": self._seed,
        }

    def models(self) -> Mapping[str, str]:
        """The endpoint's model; its revision is not known."""
        return {f"endpoint:{self._model}": "unknown"}

    def transform(
        self, prompts: ray.data.Dataset, openings: Mapping[str, Messages], ledger: Ledger
    ) -> ray.data.Dataset:
        """See :class:`~kard_ray.teacher.backends.work.Backend`."""
        plain = {name: [dict(message) for message in messages] for name, messages in openings.items()}
        blocks = self._config.concurrency // _BLOCK_ITEMS + 2  # while one ends, others are at work
        return prompts.map_batches(
            Asking,
            fn_constructor_args=(
                self._config,
                self._model,
                self._sampling,
                self._style,
                self._seed,
                self._key,
                plain,
                ledger.url,
            ),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                size=1, max_tasks_in_flight_per_actor=2 * blocks, max_concurrent_calls_per_actor=blocks
            ),
            num_cpus=0.5,
        )
