"""The facts that come with OpenBookQA (Mihaylov et al. 2018): the core facts, and more from the crowd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kard_ray.benchmarks.openbookqa import fact_key
from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.fields import FieldMapping, document_of
from kard_ray.knowledge.readers.lines import read_lines
from kard_ray.runtime.config import Frozen

Part = Literal["core", "crowdsourced"]

_FILES: dict[Part, str] = {"core": "openbook.txt", "crowdsourced": "crowdsourced-facts.txt"}
_FIELDS = FieldMapping(source="source", language="language")


class OpenbookqaCorpus(Frozen):
    """One fact a line; a fact that a part states again, in other case or spacing, is a bad row."""

    LONG: ClassVar[bool] = False

    kind: Literal["openbookqa"] = "openbookqa"
    path: str = Field(min_length=1)  # the folder of openbook.txt and crowdsourced-facts.txt
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("core", "crowdsourced")

    def fingerprint(self) -> str:
        """A hash over the files of the chosen parts."""
        return files.fingerprint_of(url for _, url in self._files())

    def shards(self) -> list[str]:
        """JSON lists: a part and its file, as a whole so that repeats are found."""
        return [json.dumps(pair) for pair in self._files()]

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """The facts of one part, in order; an id is the part and a hash of the fact in lower case."""
        part, url = json.loads(shard)
        first_at: dict[str, str] = {}  # hash -> line number; there are some thousands
        for found in read_lines(url):
            if isinstance(found, BadRow):
                yield found
                continue
            where, line = found
            try:
                fact = _unquoted(line.decode("utf-8-sig").strip())
            except UnicodeDecodeError:
                yield BadRow(where=where, reason="not UTF-8")
                continue
            key = fact_key(fact)
            if key in first_at:
                yield BadRow(where=where, reason=f"repeats line {first_at[key]}")
                continue
            first_at[key] = where.rpartition(":")[2]
            row = {"id": f"{part}/{key}", "text": fact, "source": part, "language": "en"}
            yield document_of(row, _FIELDS, where)

    def _files(self) -> list[tuple[Part, str]]:
        return [
            (part, files.find_in_folder(self.path, (_FILES[part],))) for part in dict.fromkeys(self.parts)
        ]


def _unquoted(text: str) -> str:
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    return text[1:-1].strip() if quoted else text
