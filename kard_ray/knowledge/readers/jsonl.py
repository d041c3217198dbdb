"""One's own documents as JSON Lines: ``id``, ``title`` (may be missing) and ``text``."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Passage
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

MAX_CHARACTERS = 20_000  # about ten printed pages: longer texts are documents, not passages


class JsonlCorpus(Frozen):
    """Passages from JSON Lines files; a row that cannot be used is kept in ``failures`` with its reason."""

    kind: Literal["jsonl"] = "jsonl"
    path: str = Field(min_length=1)  # a file or a glob; each file can be read by another worker

    def fingerprint(self) -> str:
        """SHA-256 over the files' contents: an edited corpus is another knowledge base."""
        digest = hashlib.sha256()
        for shard in self.shards():
            with open(shard, "rb") as source:
                while block := source.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()[:16]

    def shards(self) -> list[str]:
        """The files; raises UserError when there is none."""
        found = sorted(
            os.path.abspath(path) for path in glob.glob(self.path, recursive=True) if os.path.isfile(path)
        )
        if not found:
            raise UserError(f"recipe field knowledge.corpus.path: no file matches {self.path!r}.")
        return found

    def read(self, shard: str) -> Iterator[Passage | BadRow]:
        """Rows of one file, in order."""
        with open(shard, "rb") as source:
            for number, line in enumerate(source, start=1):
                if line.strip():
                    yield parse_line(line, where=f"{shard}:{number}")


def parse_line(line: bytes, *, where: str) -> Passage | BadRow:
    """One JSON line as a passage, or why it is none."""
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow(where=where, reason=f"not JSON in UTF-8: {str(error)[:100]}")
    if not isinstance(row, dict):
        return BadRow(where=where, reason="not a JSON object")
    for name, needed in (("id", True), ("text", True), ("title", False)):
        value = row.get(name)
        if value is None and not needed:
            continue
        number = name == "id" and isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, str) or number) or not str(value).strip():
            return BadRow(
                where=where, reason=f"field {name}: expected text that is not empty, got {value!r:.60}"
            )
        if not _encodable(str(value)):
            return BadRow(
                where=where, reason=f"field {name}: half of a surrogate pair, expected Unicode text"
            )
    if len(row["text"]) > MAX_CHARACTERS:
        return BadRow(
            where=where,
            reason=f"field text: {len(row['text'])} characters, at most {MAX_CHARACTERS} are allowed",
        )
    return Passage(passage_id=str(row["id"]), title=row.get("title") or "", text=row["text"])


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
