"""MedQuAD (Ben Abacha and Demner-Fushman 2019): questions and answers from US health institutes, CC BY 4.0.

The archive holds one XML file for each web page. Two thirds of its questions have no answer: those of three
MedlinePlus collections were removed for their copyright.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Iterator
from typing import ClassVar, Literal
from xml.etree import ElementTree

from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.fields import FieldMapping, document_of
from kard_ray.runtime.config import Frozen

_MAX_FILE_BYTES = 16 << 20  # the largest file has 150 kB
_FIELDS = FieldMapping(source="source", language="language")


class MedquadCorpus(Frozen):
    """One document for each answered question: its title is the question, its text the answer."""

    LONG: ClassVar[bool] = True

    kind: Literal["medquad"] = "medquad"
    path: str = Field(min_length=1)  # the archive, such as MedQuAD.tar.gz; local or a URL

    def fingerprint(self) -> str:
        """A hash over the archive."""
        return files.fingerprint_of(files.find_files(self.path))

    def shards(self) -> list[str]:
        """The archive: it can only be read from its beginning, which takes about two seconds."""
        return files.find_files(self.path)

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """The answered questions in the archive's order; files and questions without an answer are bad rows."""
        with files.open_plain(shard) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = member.name
                    if not (member.isfile() and name.endswith(".xml")) or posixpath.basename(name)[0] == ".":
                        continue
                    where = f"{shard}: {name}"
                    content = archive.extractfile(member)
                    if content is None or member.size > _MAX_FILE_BYTES:
                        yield BadRow(where=where, reason=f"more than {_MAX_FILE_BYTES} bytes")
                    else:
                        yield from read_page(content.read(), name, where=where)
            while stream.read(1 << 20):  # to its end, where compression keeps its checksum
                pass


def read_page(content: bytes, name: str, *, where: str) -> Iterator[Document | BadRow]:
    """The answered questions of one XML file; ``name`` is its path in the archive.

    An id is made of the collection, the file's name (the id in the file stands in several files) and the
    question's number: ``GHR/0000001-2``.
    """
    try:
        root = ElementTree.fromstring(content, parser=_parser())  # noqa: S314  # refuses entities, see _NoDoctype
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        yield BadRow(where=where, reason=f"not XML that can be read: {error}")
        return
    # Five files use other names for the same things.
    source = root.get("source") or root.get("corpus") or posixpath.dirname(name)
    stem = posixpath.splitext(posixpath.basename(name))[0]
    pairs = [element for element in root.iter() if element.tag in ("QAPair", "pair")]
    answers = [_text_of(pair, "Answer") for pair in pairs]
    if not any(answers):
        yield BadRow(where=where, reason=f"the file has no answer, and {len(pairs)} questions")
        return
    for number, (pair, answer) in enumerate(zip(pairs, answers, strict=True), start=1):
        here = f"{where}, question {number}"
        if not answer:
            yield BadRow(where=here, reason="the question has no answer")
            continue
        row = {
            "id": f"{source}/{stem}-{pair.get('pid') or number}",
            "title": re.sub(r"[\s?]+$", "?", _text_of(pair, "Question")).replace("\n", " "),
            "text": answer,
            "source": source,
            "language": "en",
        }
        yield document_of(row, _FIELDS, here)


class _NoDoctype(ElementTree.TreeBuilder):
    """A document type is where entities are defined, small ones that expand to gigabytes too: none is needed."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type, which is refused")


def _parser() -> ElementTree.XMLParser:
    return ElementTree.XMLParser(target=_NoDoctype())  # noqa: S314  # as above


def _text_of(pair: ElementTree.Element, tag: str) -> str:
    """Text of a child (or of its name in lower case): lines are kept, other runs of blanks made one.

    A dash between runs of blanks was an item of a list; it begins a line again.
    """
    child = next((element for element in pair if element.tag in (tag, tag.lower())), None)
    text = "" if child is None else "".join(child.itertext())
    text = re.sub(r"[ \t]{2,}-[ \t]+", "\n- ", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
