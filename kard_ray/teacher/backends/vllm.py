"""The teacher as vLLM engines of this cluster, through Ray Data LLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
import ray

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import EngineConfig, SamplingConfig, generation
from kard_ray.runtime.ledger import Ledger
from kard_ray.runtime.model_files import load_tokenizer
from kard_ray.runtime.models import ResolvedModel
from kard_ray.teacher.backends.work import Messages, Style, expanded, reply_row, tally
from kard_ray.teacher.prompt import prompt_ids


class VllmConfig(Frozen):
    """vLLM in this cluster; the engine's settings stand in teacher.engine."""

    kind: Literal["vllm"] = "vllm"


class Tokenizing:
    """Token ids of every prompt; an actor's callable. Prompts that leave no room for the text go to the ledger."""

    def __init__(
        self, model_path: str, openings: dict[str, list[dict[str, str]]], style: Style, room: int, limit: int,
        ledger_url: str,
    ) -> None:  # fmt: skip
        self.tokenizer = load_tokenizer(model_path)
        self.openings, self.style, self.room, self.limit = openings, style, room, limit
        self.writer = Ledger(ledger_url).writer()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """PROMPTS in; item_id, sample, key, prompt_ids out, one row per sample."""
        good, bad = [], []
        last: tuple[str, list[int]] = ("", [])
        for row in expanded(batch):
            if row["item_id"] != last[0]:
                last = row["item_id"], self._ids(row)
            ids = last[1]
            names = {name: row[name] for name in ("item_id", "sample", "key")}
            if len(ids) > self.limit - self.room:
                error = (
                    f"the prompt has {len(ids):,} tokens, and beside it there is no room for {self.room:,} in "
                    f"teacher.engine.max_model_tokens ({self.limit:,})"
                )
                bad.append(reply_row(**names, error=error))
            else:
                good.append(names | {"prompt_ids": ids})
        self.writer.append(bad)
        self.writer.flush()
        schema = pa.schema(
            [
                ("item_id", pa.string()),
                ("sample", pa.int32()),
                ("key", pa.string()),
                ("prompt_ids", pa.list_(pa.int32())),
            ]
        )
        return pa.Table.from_pylist(good, schema=schema)

    def _ids(self, row: Mapping[str, Any]) -> list[int]:
        messages = [*self.openings[row["opening"]], {"role": "user", "content": row["turn"]}]
        return prompt_ids(self.tokenizer, messages, self.style.template, self.style.label)


class Keeping:
    """Writes what the engine wrote to the ledger; a task's callable."""

    def __init__(self, ledger_url: str, max_tokens: int) -> None:
        self.ledger_url, self.max_tokens = ledger_url, max_tokens

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Generated rows in, TALLY out."""
        generated = batch.to_pylist()
        rows = [
            reply_row(
                key=row["key"],
                item_id=row["item_id"],
                sample=row["sample"],
                text=row["generated_text"],
                prompt_tokens=row["prompt_tokens"],
                generated_tokens=row["generated_tokens"],
                finish_reason="length" if row["generated_tokens"] >= self.max_tokens else "stop",
                error=row["error"],
            )
            for row in generated
        ]
        writer = Ledger(self.ledger_url).writer()
        writer.append(rows)
        writer.close()
        return tally(rows, seconds=max((row["generation_seconds"] for row in generated), default=0.0))


class Vllm:
    """The backend of :class:`VllmConfig`."""

    def __init__(
        self, model: ResolvedModel, engine: EngineConfig, sampling: SamplingConfig, style: Style,
        seed: int, samples: int,
    ) -> None:  # fmt: skip
        self._model, self._engine, self._sampling = model, engine, sampling
        self._style, self._seed = style, seed
        self.block_items = max(1, engine.batch_rows // samples)

    def identity(self) -> Mapping[str, Any]:
        """Model and revision, sampling, template, seed, and what of the engine decides the text."""
        return {
            "model": self._model.ref,
            "revision": self._model.revision,
            "sampling": self._sampling.content(),
            "style": self._style.identity(),
            # Not the context's length: a prompt that fits in a longer one is the same prompt.
            "dtype": self._engine.dtype,
            "seed": self._seed,
        }

    def models(self) -> Mapping[str, str]:
        """The teacher."""
        return {self._model.ref: self._model.revision}

    def transform(
        self, prompts: ray.data.Dataset, openings: Mapping[str, Messages], ledger: Ledger
    ) -> ray.data.Dataset:
        """See :class:`~kard_ray.teacher.backends.work.Backend`."""
        generate = generation(
            model_path=self._model.path,
            config=self._engine,
            sampling=self._sampling,
            seed=self._seed,
            json_schema=self._style.schema,
        )
        plain = {name: [dict(message) for message in messages] for name, messages in openings.items()}
        tokens = prompts.map_batches(
            Tokenizing,
            fn_constructor_args=(
                self._model.path,
                plain,
                self._style,
                self._sampling.max_tokens,
                self._engine.max_model_tokens,
                ledger.url,
            ),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0.1,
        )
        return generate(tokens).map_batches(
            Keeping(ledger.url, self._sampling.max_tokens),
            batch_format="pyarrow",
            batch_size=None,
            zero_copy_batch=True,
            num_cpus=0.05,
        )
