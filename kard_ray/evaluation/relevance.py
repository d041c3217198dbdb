"""Queries and relevance judgements from files, to measure retrieval on a user's own data.

The layout is BEIR's: ``queries.jsonl`` with ``_id`` and ``text``, and ``qrels/*.tsv`` with the columns query-id,
corpus-id and score. Judgements may also be TREC's four columns (query, iteration, document, grade). Files whose names
end in ``.gz`` are unpacked.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kard_ray.runtime.errors import UserError

_COLUMNS = ("query-id", "corpus-id", "score")  # of BEIR's header
_LAYOUTS = "three columns (query-id, corpus-id, score) or TREC's four (query, iteration, document, grade)"


def read_queries(path: Path | str) -> dict[str, str]:
    """Query ids and texts, in the file's order; fields other than ``_id`` and ``text`` are ignored.

    Raises UserError that names file and line when a line is no such object, an id stands twice, or the file cannot be
    read or holds no query.
    """
    queries: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"file {path}, line {number}"
        try:
            row: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error}); expected an object with _id and text.") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: got {_shown(row)}; expected an object with _id and text.")
        query = row.get("_id")
        if isinstance(query, int) and not isinstance(query, bool):
            query = str(query)
        if not isinstance(query, str) or not query.strip():
            raise UserError(f"{where}, field _id: got {_shown(query)}; expected the query's id.")
        if query in queries:
            raise UserError(
                f"{where}, field _id: {query!r} also stands on line {lines[query]}; expected a new id."
            )
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}, field text: got {_shown(text)}; expected the query's text.")
        queries[query], lines[query] = text, number
    if not queries:
        raise UserError(f"file {path} is empty; expected one query a line, as JSON with _id and text.")
    return queries


def read_judgements(path: Path | str) -> dict[str, dict[str, int]]:
    """Grades by query id and document id; a header with BEIR's column names is optional and may order them anew.

    Raises UserError that names file and line when a line has other columns, a grade is no integer or contradicts an
    earlier line, or the file cannot be read or holds no judgement.
    """
    judgements: dict[str, dict[str, int]] = {}
    order: list[int] | None = None
    for number, line in _lines(path):
        where = f"file {path}, line {number}"
        fields = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        if order is None and not judgements and set(_COLUMNS) <= set(fields):
            order = [fields.index(name) for name in _COLUMNS]
            continue
        if order is not None:
            if len(fields) <= max(order):
                raise UserError(f"{where}: got {len(fields)} columns; expected as many as the header names.")
            query, document, grade = (fields[at] for at in order)
        elif len(fields) in (3, 4):
            query, document, grade = fields[0], fields[-2], fields[-1]
        else:
            raise UserError(f"{where}: got {len(fields)} columns; expected {_LAYOUTS}.")
        if not query or not document:
            raise UserError(f"{where}: got an empty id; expected the ids of a query and a document.")
        try:
            value = int(grade)
        except ValueError as error:
            raise UserError(f"{where}: got the grade {grade!r}; expected an integer.") from error
        if judgements.setdefault(query, {}).setdefault(document, value) != value:
            raise UserError(
                f"{where}: query {query!r} and document {document!r} have the grade {value}, on an earlier line "
                f"{judgements[query][document]}; expected one grade for each pair."
            )
    if not judgements:
        raise UserError(f"file {path} holds no judgement; expected one a line, in {_LAYOUTS}.")
    return judgements


def judged(
    queries: Mapping[str, str], judgements: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """The judgements of those of ``queries`` for which a document has a grade above 0, in the queries' order.

    Judgements of other queries are left out. Raises UserError when none is left.
    """
    found = {
        query: dict(judgements[query])
        for query in queries
        if any(grade > 0 for grade in judgements.get(query, {}).values())
    }
    if not found:
        raise UserError(
            f"none of the {len(queries)} queries has a judgement above 0 among the judgements of {len(judgements)} "
            f"queries ({_some(queries)} against {_some(judgements)}); expected the files of one data set."
        )
    return found


def _lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    path = Path(path)
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield number, text
    except FileNotFoundError as error:
        raise UserError(f"file {path} is not there; check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"file {path}, line {number}: not UTF-8 ({error.reason}); save it as UTF-8."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"file {path} cannot be read after line {number} ({error}).") from error


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _some(ids: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in list(ids)[:3]) or "none"
