"""Users' verdicts in a Lance table: a row is acknowledged when it is committed, and counts once by its id.

Several replicas may write: an append never conflicts with another one. What arrives while a commit is on its way goes
together into the next.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import lance
import pyarrow as pa

from kard_ray.runtime.errors import UserError
from kard_ray.serving.errors import unavailable
from kard_ray.serving.logs import logger

TABLE = "feedback.lance"

FEEDBACK = pa.schema(
    [
        pa.field("feedback_id", pa.string(), nullable=False),
        pa.field("created", pa.float64(), nullable=False),  # seconds since 1970
        pa.field("given_by", pa.string(), nullable=False),  # name of the token
        pa.field("verdict", pa.string(), nullable=False),  # right, wrong
        pa.field("answer_id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("options", pa.list_(pa.string()), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("option", pa.int32()),
        pa.field("rationale", pa.string(), nullable=False),
        pa.field("passage_ids", pa.list_(pa.string()), nullable=False),
        pa.field("model", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("knowledge_version", pa.string()),
        pa.field("correction", pa.string()),
        pa.field("comment", pa.string()),
    ]
)
_FRAGMENTS = 200  # a table of more is merged
_KEPT = timedelta(hours=1)  # versions that a reader may still look at


class FeedbackTable:
    """The table in ``folder``; made when it is not there."""

    def __init__(self, folder: str) -> None:
        """Raises UserError when it cannot be written."""
        self.uri = os.path.join(folder, TABLE)
        self._fragments = 0
        try:
            os.makedirs(folder, exist_ok=True)
            if not os.path.isdir(self.uri):
                lance.write_dataset(FEEDBACK.empty_table(), self.uri, mode="create")
            self._append([])
        except OSError as error:
            if not os.path.isdir(self.uri) or "already exists" not in str(error):
                raise UserError(
                    f"feedback folder {folder}: it cannot be written ({str(error).splitlines()[0]})."
                ) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feedback")
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[None]]] = []
        self._working: asyncio.Task[None] | None = None
        self.broken: str | None = None  # why rows cannot be kept now

    async def keep(self, row: Mapping[str, Any]) -> None:
        """Append ``row``; returns when it is committed. Raises ServiceError 503 when it could not be."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(({name: row.get(name) for name in FEEDBACK.names}, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        await answer

    async def probe(self) -> None:
        """Try again to write, if that has failed: without it a table that nobody writes to would stay broken."""
        if self.broken is None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._append, [])
        except Exception as error:  # noqa: BLE001 - whatever it is, the table is still broken
            self.broken = _broken(error)
        else:
            self.broken = None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._thread, self._append, [row for row, _ in batch])
            except Exception as error:  # noqa: BLE001 - told to each of those whose row was not kept
                self.broken = _broken(error)
                logger.error("verdicts could not be kept", exc_info=error)
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(unavailable("the table of verdicts"))
            else:
                self.broken = None
                for _, answer in batch:
                    if not answer.done():
                        answer.set_result(None)
                await loop.run_in_executor(self._thread, self._merge)

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """One commit; without rows it only shows that the table can be written."""
        table = lance.write_dataset(
            pa.Table.from_pylist(list(rows), schema=FEEDBACK), self.uri, mode="append"
        )
        self._fragments = len(table.get_fragments())

    def _merge(self) -> None:
        """Make few pieces of many, and forget old versions: each commit writes down all pieces that there are."""
        if self._fragments <= _FRAGMENTS:
            return
        try:
            table = lance.dataset(self.uri)
            table.optimize.compact_files()
            table.cleanup_old_versions(_KEPT)
        except Exception as error:  # noqa: BLE001 - rows are kept all the same; tried again after the next one
            logger.error("the table of verdicts could not be merged", exc_info=error)


def _broken(error: Exception) -> str:
    return f"verdicts cannot be kept ({type(error).__name__})."


def read_feedback(folder: str) -> pa.Table:
    """All verdicts, oldest first, each once. Raises UserError when there is no table."""
    uri = os.path.join(folder, TABLE)
    if not os.path.isdir(uri):
        raise UserError(f"{folder}: it has no {TABLE}; a service makes it when it starts.")
    table = lance.dataset(uri).to_table().sort_by("created")
    seen: set[str] = set()
    keep = []
    for at, identity in enumerate(table["feedback_id"].to_pylist()):
        if identity not in seen:
            seen.add(identity)
            keep.append(at)
    return table.take(keep)


def as_questions(feedback: pa.Table) -> list[dict[str, Any]]:
    """Questions whose right answer the verdicts tell, as a benchmark of kind jsonl reads them; the newest one counts.

    A right answer is the given one, a wrong one's is its correction. A correction that is no option is left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in feedback.to_pylist():
        right = row["answer"] if row["verdict"] == "right" else row["correction"]
        key = json.dumps([row["question"], sorted(row["options"])])
        if right is None:
            continue
        question: dict[str, Any] = {"id": row["feedback_id"], "question": row["question"]}
        if row["options"]:
            if right not in row["options"]:
                continue
            question |= {"options": row["options"], "answer": row["options"].index(right)}
        else:
            question |= {"options": [], "answer": right}
        found.pop(key, None)
        found[key] = question
    return list(found.values())
