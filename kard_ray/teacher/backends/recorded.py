"""A recorded teacher: rationales that were written before, read from a file, as if they were written now.

The file is JSON Lines (``.gz`` too) with ``id``, ``rationales`` (a list of texts) and, if known, ``model``. An item
finds its texts by its id, with or without the benchmark's name before it ("strategyqa-train-00000").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import fsspec
import pyarrow as pa
import ray
from pydantic import Field

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.backends.work import Messages, expanded, reply_row, tally

_BLOCK_ITEMS = 64


class RecordedConfig(Frozen):
    """Rationales from a file in place of a model."""

    EXECUTION: ClassVar[frozenset[str]] = frozenset({"path"})  # the file counts by its content

    kind: Literal["recorded"]
    # Local path or fsspec address of JSON Lines, gzip if its name ends in .gz
    path: str = Field(min_length=1)


def file_hash(path: str) -> str:
    """SHA-256 of the file, 16 digits; raises UserError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with fsspec.open(path, "rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(
            f"recipe field teacher.backend.path: {path} cannot be read ({error.strerror or error}); expected JSON "
            "Lines with id and rationales."
        ) from error
    return digest.hexdigest()[:16]


def read_records(path: str) -> Iterator[tuple[str, list[str]]]:
    """Ids and texts; raises UserError naming the first line that is wrong."""
    with fsspec.open(path, "rt", encoding="utf-8", errors="replace", compression="infer") as source:
        for number, line in enumerate(source, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                texts = row["rationales"]
                if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                    raise TypeError("rationales is no list of texts")
                yield str(row["id"]), texts
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"recorded rationales {path}, line {number}: expected a JSON object with id and rationales (a list "
                    f"of texts), but {type(error).__name__}: {error}."
                ) from None


class Replayer:
    """Answers from the file; an actor's callable. The file's texts are held in memory."""

    def __init__(self, path: str, ledger_url: str) -> None:
        self.texts = dict(read_records(path))
        self.writer = Ledger(ledger_url).writer()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """PROMPTS in, TALLY out."""
        rows = [self._reply(row) for row in expanded(batch)]
        self.writer.append(rows)
        self.writer.flush()
        return tally(rows)

    def _reply(self, row: Mapping[str, Any]) -> dict[str, Any]:
        item, sample = row["item_id"], row["sample"]
        texts = self.texts.get(item) or self.texts.get(item.partition("-")[2])
        if texts is None:
            error = f"the recorded teacher has nothing for {item}"
        elif sample >= len(texts):
            error = f"the recorded teacher has {len(texts)} texts for {item}, and this is number {sample + 1}"
        else:
            error = "" if texts[sample].strip() else "the recorded text is empty"
        return reply_row(
            key=row["key"],
            item_id=item,
            sample=sample,
            text="" if error or texts is None else texts[sample],
            generated_tokens=0,
            finish_reason="" if error else "recorded",
            error=error,
        )


class Recorded:
    """The backend of :class:`RecordedConfig`."""

    block_items = _BLOCK_ITEMS

    def __init__(self, config: RecordedConfig) -> None:
        self._path = config.path
        self._hash = file_hash(config.path)

    def identity(self) -> Mapping[str, Any]:
        """The file's content; prompts are part of the key all the same."""
        return {"recorded": self._hash}

    def models(self) -> Mapping[str, str]:
        """The file in place of a model."""
        return {f"recorded:{self._path}": self._hash}

    def transform(
        self, prompts: ray.data.Dataset, openings: Mapping[str, Messages], ledger: Ledger
    ) -> ray.data.Dataset:
        """See :class:`~kard_ray.teacher.backends.work.Backend`."""
        return prompts.map_batches(
            Replayer,
            fn_constructor_args=(self._path, ledger.url),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0.5,
        )
