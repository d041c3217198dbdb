"""From a row of any format to a document: which column holds what, and what is not accepted."""

from __future__ import annotations

import datetime
import hashlib
import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

MAX_DOCUMENT_CHARACTERS = 10_000_000  # per field; about ten times the longest novel

_Name = Annotated[str, Field(min_length=1)]


def _as_names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class FieldMapping(Frozen):
    """The names of the columns (or JSON keys) that hold each part of a document."""

    id: _Name | None = "id"  # null: the id is a hash of title and text
    title: _Name | None = "title"  # null: no titles; a missing column is accepted only under the default name
    text: Annotated[tuple[_Name, ...], BeforeValidator(_as_names), Field(min_length=1)] = ("text",)
    source: _Name | None = None  # collection
    language: _Name | None = None  # BCP 47 tag
    date: _Name | None = None  # date, datetime or ISO text such as 2024-01-31

    def columns(self) -> Iterator[tuple[str, str, bool]]:
        """(field, column, whether the column may be missing) of everything mapped."""
        for field in ("id", "title", "source", "language", "date"):
            column = getattr(self, field)
            if column is not None:
                yield field, column, field == "title" and column == "title"
        for column in self.text:
            yield "text", column, False

    def among(self, columns: Sequence[str]) -> list[str]:
        """Those of ``columns`` that are mapped: all that has to be read."""
        mapped = {column for _, column, _ in self.columns()}
        return [column for column in columns if column in mapped]


def check_columns(mapping: FieldMapping, columns: Sequence[str], *, where: str) -> None:
    """Raise UserError, a line for each mistake, if a mapped column is not in ``columns``, or is there twice.

    ``where`` names the file or data set.
    """
    found = ", ".join(ascii(name)[1:-1] for name in columns) or "none"
    mistakes = []
    for field, column, optional in mapping.columns():
        count = columns.count(column)
        if count == 1 or (optional and count == 0):
            continue
        told = "no column" if count == 0 else f"{count} columns"
        hint = "; with null, ids are made from title and text" if field == "id" else ""
        mistakes.append(
            f"recipe field knowledge.corpus.fields.{field}: {where} has {told} {column!r}; "
            f"its columns are: {found:.1000}{hint}."
        )
    if mistakes:
        raise UserError("\n".join(mistakes))


def document_of(row: object, mapping: FieldMapping, where: str) -> Document | BadRow:
    """One row as a document, or why it is none; ``where`` tells its place.

    Ids are text or integers, and text is never blank. Blank title, source, language and date count as not
    given. Everything must be Unicode that can be written, of at most MAX_DOCUMENT_CHARACTERS.
    """
    if not isinstance(row, Mapping):
        return BadRow(where=where, reason="not a JSON object")
    try:
        title = _text(row, mapping.title, optional=mapping.title == "title")
        text = _body(row, mapping.text)
        return Document(
            source_id=_hash(title, text) if mapping.id is None else _id(row, mapping.id),
            title=title,
            text=text,
            source=_text(row, mapping.source),
            language=_text(row, mapping.language),
            date=_date(row, mapping.date),
        )
    except _BadField as error:
        return BadRow(where=where, reason=str(error))


class _BadField(Exception):
    """A field that cannot be used; the message is the reason."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"field {name}: {problem}")


def _value(row: Mapping[str, Any], name: str, *, optional: bool = False) -> Any:
    if name not in row and not optional:
        found = ", ".join(ascii(key)[1:-1] for key in list(row)[:20]) or "none"
        raise _BadField(name, f"the row does not have it; its fields are: {found:.150}")
    return row.get(name)


def _checked(value: str, name: str) -> str:
    if len(value) > MAX_DOCUMENT_CHARACTERS:
        raise _BadField(name, f"{len(value)} characters, at most {MAX_DOCUMENT_CHARACTERS} are allowed")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _BadField(
            name, "half of a surrogate pair or bytes that are not UTF-8, expected Unicode text"
        ) from None
    return value


def _got(value: object) -> str:
    return f"got {reprlib.repr(value):.60}"


def _id(row: Mapping[str, Any], name: str) -> str:
    value = _value(row, name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise _BadField(name, f"expected an integer or text that is not empty, {_got(value)}")
    return _checked(value, name)


def _text(row: Mapping[str, Any], name: str | None, *, optional: bool = False) -> str:
    value = None if name is None else _value(row, name, optional=optional)
    if name is None or value is None:
        return ""
    if not isinstance(value, str):
        raise _BadField(name, f"expected text or nothing, {_got(value)}")
    return _checked(value, name) if value.strip() else ""


def _body(row: Mapping[str, Any], names: Sequence[str]) -> str:
    if len(names) == 1:
        value = _value(row, names[0])
        if not isinstance(value, str) or not value.strip():
            raise _BadField(names[0], f"expected text that is not empty, {_got(value)}")
        return _checked(value, names[0])
    text = "\n".join(part for part in [_text(row, name) for name in names] if part)
    if not text:
        raise _BadField(", ".join(names), "all are empty, expected text in at least one")
    return _checked(text, ", ".join(names))


def _date(row: Mapping[str, Any], name: str | None) -> datetime.date | None:
    value = None if name is None else _value(row, name)
    if name is None or value is None or (isinstance(value, str) and not value.strip()):
        return None
    found = read_date(value)
    if found is None:
        raise _BadField(name, f"expected a date such as 2024-01-31, {_got(value)}")
    return found


def read_date(value: object) -> datetime.date | None:
    """The day of a date, a datetime (in its own time zone) or an ISO text; None if it is none of them."""
    try:
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value.strip())
        if isinstance(value, datetime.datetime):
            value = value.date()
    except ValueError:
        return None
    return value if isinstance(value, datetime.date) else None


def _hash(title: str, text: str) -> str:
    return hashlib.sha256(json.dumps([title, text]).encode()).hexdigest()[:20]
