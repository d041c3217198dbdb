"""Read a benchmark's raw files: every mistake is told at once, with its file, its line, and its field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from kard_ray.runtime.errors import UserError

_LISTED_MISTAKES = 20
_T = TypeVar("_T")


class MistakeError(Exception):
    """What is wrong on one line; the message begins with the field."""


def fingerprint_of(files: Mapping[Any, Path]) -> str:
    """SHA-256 over the files' contents and what each is, 16 digits. Raises UserError if one cannot be read."""
    digest = hashlib.sha256()
    for name, path in files.items():
        data = bytes_of(path)
        digest.update(f"{name} {len(data)} ".encode() + data)
    return digest.hexdigest()[:16]


def bytes_of(path: Path) -> bytes:
    """The whole file. Raises UserError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"file {path} does not exist; expected a file of questions.") from None
    except OSError as error:
        raise UserError(
            f"file {path} cannot be read: {error.strerror}; expected a file of questions."
        ) from None


def parsed_rows(path: Path, parse: Callable[[dict[str, Any], int], _T]) -> list[_T]:
    """Every row of a file, parsed from its object and its number from 1: JSON Lines, a JSON list, or Parquet.

    Raises UserError as :func:`parsed_lines` does.
    """
    if path.suffix == ".parquet":
        items, unit = _table_rows(path), "row"
    elif bytes_of(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        items, unit = json_of(path), "item"
    else:
        return parsed_lines(path, parse)
    if not items:
        raise UserError(f"file {path} is empty; expected questions.")
    return parsed(path, unit, enumerate(items, start=1), lambda row, n: parse(_as_object(row), n))


def json_of(path: Path) -> Any:
    """What a whole JSON file holds. Raises UserError when it is not JSON."""
    try:
        return json.loads(bytes_of(path).removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"file {path} is not JSON in UTF-8 ({str(error)[:80]}); expected a file of questions."
        ) from None


def _table_rows(path: Path) -> list[Any]:
    data = bytes_of(path)
    try:
        return pq.read_table(pa.BufferReader(data)).to_pylist()
    except pa.ArrowInvalid as error:
        raise UserError(
            f"file {path} is not Parquet ({str(error)[:80]}); expected a file of questions."
        ) from None


def parsed_lines(path: Path, parse: Callable[[dict[str, Any], int], _T]) -> list[_T]:
    """Every line of a JSON Lines file that is not blank, parsed from its object and its number from 1.

    Raises UserError when the file cannot be read or is empty, and one line per MistakeError of ``parse``.
    """
    lines = enumerate(bytes_of(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1)
    found = parsed(
        path,
        "line",
        ((n, line) for n, line in lines if line.strip()),
        lambda line, n: parse(_object(line), n),
    )
    if not found:
        raise UserError(f"file {path} is empty; expected JSON Lines, one question a line.")
    return found


def parsed(
    path: Path, unit: str, items: Iterable[tuple[int, Any]], parse: Callable[[Any, int], _T]
) -> list[_T]:
    """``items`` of ``path`` by their number in ``unit``; all mistakes are told at once, the first 20 in full."""
    found: list[_T] = []
    mistakes: list[str] = []
    for number, item in items:
        try:
            found.append(parse(item, number))
        except MistakeError as mistake:
            mistakes.append(f"file {path}, {unit} {number}, {mistake}")
    if mistakes:
        more = len(mistakes) - _LISTED_MISTAKES
        rest = (
            [f"file {path}: {len(mistakes)} {unit}s are wrong; {more} more are not listed."]
            if more > 0
            else []
        )
        raise UserError("\n".join([*mistakes[:_LISTED_MISTAKES], *rest]))
    return found


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MistakeError(
            f"whole line: not JSON in UTF-8 ({str(error)[:80]}); expected a JSON object."
        ) from None
    return _as_object(row)


def _as_object(row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise MistakeError(f"whole line: got {shown(row)}; expected a JSON object.")
    return row


def shown(value: object) -> str:
    """A value as it stands in a mistake's sentence."""
    return "nothing" if value is None else f"{value!r:.60}"


def text_field(row: Mapping[str, Any], name: str) -> str:
    """The text of field ``name``, stripped. Raises MistakeError when it is no text, empty, or cannot be encoded."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise MistakeError(f"field {name}: got {shown(value)}; expected a text that is not empty.")
    return encodable(value.strip(), name)


def encodable(text: str, name: str) -> str:
    """``text`` itself. Raises MistakeError when it holds half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MistakeError(f"field {name}: got half of a surrogate pair; expected text in Unicode.") from None
    return text


def key_among(labels: Sequence[str], row: Mapping[str, Any], name: str) -> int:
    """The index of the label that field ``name`` gives. Raises MistakeError when no label, or more than one, is it."""
    key = text_field(row, name)
    if list(labels).count(key) != 1:
        raise MistakeError(f"field {name}: got {shown(key)}; expected one of {', '.join(labels)}, each once.")
    return list(labels).index(key)
