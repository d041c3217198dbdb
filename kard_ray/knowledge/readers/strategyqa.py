"""Wikipedia paragraphs for StrategyQA: passages that BM25 found, and paragraphs cited as evidence (CC BY-SA)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.fields import FieldMapping, document_of
from kard_ray.knowledge.readers.lines import line_shards, parse_json, read_lines
from kard_ray.runtime.config import Frozen

Part = Literal["wikipedia", "evidence"]

_FILES: dict[Part, str] = {
    "wikipedia": "wikipedia_passages.jsonl",  # docid, document: "Title . text"
    "evidence": "evidence_paragraphs.jsonl",  # pid: "Title-75", sentences
}
_FIELDS = FieldMapping(source="source", language="language")


class StrategyqaCorpus(Frozen):
    """Wikipedia paragraphs with their titles; an id is the part and the id in its file."""

    LONG: ClassVar[bool] = False

    kind: Literal["strategyqa"] = "strategyqa"
    path: str = Field(min_length=1)  # the folder of both files, which may be compressed (.gz)
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("wikipedia", "evidence")

    def fingerprint(self) -> str:
        """A hash over the files of the chosen parts."""
        return files.fingerprint_of(url for _, url in self._files())

    def shards(self) -> list[str]:
        """JSON lists: the part, and a file or range of one."""
        return [json.dumps([part, shard]) for part, url in self._files() for shard in line_shards([url])]

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """Paragraphs of one shard, in order."""
        part, inner = json.loads(shard)
        for found in read_lines(inner):
            if isinstance(found, BadRow):
                yield found
                continue
            where, line = found
            row = parse_json(line, where=where)
            if isinstance(row, BadRow):
                yield row
            elif not isinstance(row, dict):
                yield BadRow(where=where, reason="not a JSON object")
            else:
                yield _wikipedia(row, where) if part == "wikipedia" else _evidence(row, where)

    def _files(self) -> list[tuple[Part, str]]:
        return [
            (part, files.find_in_folder(self.path, (_FILES[part] + ".gz", _FILES[part])))
            for part in dict.fromkeys(self.parts)
        ]


def _wikipedia(row: dict[str, Any], where: str) -> Document | BadRow:
    docid, document = row.get("docid"), row.get("document")
    if not _is_text(docid) or not isinstance(document, str) or " . " not in document:
        return BadRow(where=where, reason='expected docid, and a document such as "Title . text"')
    title, _, text = document.partition(" . ")
    return _document("wikipedia", docid, title, text, where)


def _evidence(row: dict[str, Any], where: str) -> Document | BadRow:
    pid, sentences = row.get("pid"), row.get("sentences")
    title = pid.rpartition("-")[0] if isinstance(pid, str) else ""
    if not title or not isinstance(sentences, list) or not all(isinstance(s, str) for s in sentences):
        return BadRow(where=where, reason='expected a pid such as "Title-75", and a list of sentences')
    return _document("evidence", pid, title, " ".join(sentences), where)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _document(part: Part, name: object, title: str, text: str, where: str) -> Document | BadRow:
    row = {"id": f"{part}/{name}", "title": title.strip(), "text": text, "source": part, "language": "en"}
    return document_of(row, _FIELDS, where)
