"""A folder of plain text and Markdown files."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from fsspec.implementations.local import LocalFileSystem
from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.fields import MAX_DOCUMENT_CHARACTERS, FieldMapping, document_of
from kard_ray.knowledge.readers.markdown import read_page
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

_FILES_PER_SHARD = 64
_MAX_BYTES = 4 * MAX_DOCUMENT_CHARACTERS  # a character of UTF-8 has up to four
_FIELDS = FieldMapping(language="language", date="date")


class TextCorpus(Frozen):
    """One document for each file below a folder; its id is the path relative to that folder.

    The title is the front matter's, else the first Markdown heading, else a short first line, else the
    file's name; title, date and language of YAML front matter are used if they can be read as such.
    Hidden files and folders are left out. A symbolic link that leads out of the folder, or to another
    folder, is not followed; it is told in ``failures``.
    """

    LONG: ClassVar[bool] = True

    kind: Literal["text"] = "text"
    path: str = Field(min_length=1)  # a folder, local or a URL
    patterns: Annotated[tuple[str, ...], Field(min_length=1)] = ("*.txt", "*.md")  # names of files, any case

    def fingerprint(self) -> str:
        """A hash over the files' paths in the folder and their contents."""
        digest = hashlib.sha256()
        root = self._root()
        for name in self._names():
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            if _refusal(root, name) is None:
                digest.update(files.digest_of(f"{root}/{name}"))
        return digest.hexdigest()[:16]

    def shards(self) -> list[str]:
        """JSON lists: the folder, as an absolute path, and a list of paths relative to it."""
        root, names = self._root(), self._names()
        return [
            json.dumps([root, names[at : at + _FILES_PER_SHARD]])
            for at in range(0, len(names), _FILES_PER_SHARD)
        ]

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """The files of one shard."""
        root, names = json.loads(shard)
        for name in names:
            yield _read(root, name)

    def _root(self) -> str:
        fs, inside = files.file_system(self.path)
        with files.told(self.path):
            if not fs.isdir(inside):
                raise UserError(f"{files.FIELD}: expected a folder, {self.path!r} is none.")
        return inside if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(inside)).rstrip("/")

    def _names(self) -> list[str]:
        """Sorted paths, relative to the folder, of the files that fit and of links to folders."""
        root = self._root()
        fs, inside = files.file_system(root)
        with files.told(root):
            if isinstance(fs, LocalFileSystem):
                found = list(_walk(inside))
            else:
                found = [name[len(inside) :].lstrip("/") for name in fs.find(inside)]
        names = sorted(name for name in found if self._fits(root, name))
        if not names:
            raise UserError(
                f"{files.FIELD}: folder {self.path!r} holds no file that fits {', '.join(self.patterns)}."
            )
        return names

    def _fits(self, root: str, name: str) -> bool:
        parts = name.split("/")
        if any(part.startswith(".") for part in parts):
            return False
        fits = any(fnmatch.fnmatchcase(parts[-1].lower(), pattern.lower()) for pattern in self.patterns)
        return fits or os.path.isdir(f"{root}/{name}")


def _walk(root: str) -> Iterator[str]:
    """Files below ``root`` and links to folders, relative to it; os.walk follows no link."""
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in names + links:
            yield os.path.relpath(os.path.join(folder, name), root)


def _refusal(root: str, name: str) -> str | None:
    """Why this path is not read, if it is a link that must not be followed."""
    file = f"{root}/{name}"
    if not os.path.islink(file):
        return None
    real = os.path.realpath(file)
    if os.path.isdir(real):
        return "a symbolic link to a folder, which is not followed"
    if os.path.commonpath([real, os.path.realpath(root)]) != os.path.realpath(root):
        return "a symbolic link that leads out of the folder, which is not followed"
    return None if os.path.isfile(real) else "a symbolic link that leads nowhere"


def _read(root: str, name: str) -> Document | BadRow:
    where = ascii(f"{root}/{name}")[1:-1] if not name.isprintable() else f"{root}/{name}"
    if refusal := _refusal(root, name):
        return BadRow(where=where, reason=refusal)
    if re.search("[\ud800-\udfff]", name):
        return BadRow(where=where, reason="the file's name is not UTF-8")
    with files.open_file(f"{root}/{name}") as source:
        content = source.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        return BadRow(where=where, reason=f"more than {_MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return BadRow(where=where, reason=f"not UTF-8: byte {error.start} is 0x{content[error.start]:02x}")
    if not text.strip():
        return BadRow(where=where, reason="the file has no text")
    return document_of({"id": name, **read_page(text, name)}, _FIELDS, where)
