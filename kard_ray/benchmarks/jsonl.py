"""A user's own questions as JSON Lines: ``id``, ``question``, ``options``, ``answer``, and optional fields.

``answer`` is an option's text or its index from 0; ``passages`` are the ids of the passages that carry its
facts; ``kind`` groups questions in the report. Other fields are ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

_LISTED_MISTAKES = 20
_T = TypeVar("_T")


class JsonlConfig(Frozen):
    """Files of a user's own questions; every split is optional, but at least one is needed."""

    kind: Literal["jsonl"] = "jsonl"
    train: str | None = None  # path
    dev: str | None = None  # path
    test: str | None = None  # path
    name: str = Field("jsonl", min_length=1)  # as it stands in reports
    examples: str | None = None  # path: question, options, answer, passages (texts), rationale


class Jsonl:
    """Benchmark made of a user's own files."""

    def __init__(self, config: JsonlConfig) -> None:
        self._config = config

    @property
    def name(self) -> str:
        """The name given in the configuration."""
        return self._config.name

    def fingerprint(self) -> str:
        """SHA-256 over the files' contents, 16 digits. Raises UserError if a file is missing."""
        digest = hashlib.sha256()
        paths = [*self._paths().values(), *([self._config.examples] if self._config.examples else [])]
        for path in paths:
            data = _bytes(Path(path))
            digest.update(f"{len(data)} ".encode() + data)
        return digest.hexdigest()[:16]

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions in the files' order. Raises UserError that lists every mistake."""
        paths = self._paths()
        home: dict[str, str] = {}
        for split, path in paths.items():
            rows = read_questions(Path(path), split)
            for row in rows:
                if row.question_id in home:
                    raise UserError(
                        f"file {path}, field id: {row.question_id!r} is also in {home[row.question_id]}; "
                        "expected an id that no other question has."
                    )
            home.update((row.question_id, path) for row in rows)
            yield from rows

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """The examples file's rows, or none without such a file."""
        if self._config.examples is None:
            return ()
        path = Path(self._config.examples)
        return [example for _, example in _parsed(path, _example)]

    def _paths(self) -> dict[Split, str]:
        given: dict[Split, str | None] = {
            "train": self._config.train,
            "dev": self._config.dev,
            "test": self._config.test,
        }
        found = {split: path for split, path in given.items() if path is not None}
        if not found:
            raise UserError(
                "recipe group benchmark (kind jsonl): none of train, dev, test is given; "
                "expected the path of at least one JSON Lines file."
            )
        return found


def read_questions(path: Path | str, split: Split) -> list[Question]:
    """The questions of one JSON Lines file, in order, all given to ``split``.

    Raises UserError when the file cannot be read or is empty, and one line per mistake (the first 20 and
    their count) that names file, line, field, what was found and what was expected.
    """
    path = Path(path)
    lines: dict[str, int] = {}

    def parse(row: dict[str, Any], number: int) -> Question:
        question = _question(row, split)
        if question.question_id in lines:
            raise _MistakeError(
                f"field id: {question.question_id!r} also stands on line {lines[question.question_id]}; "
                "expected an id that no other line has."
            )
        lines[question.question_id] = number
        return question

    return [question for _, question in _parsed(path, parse)]


class _MistakeError(Exception):
    """What is wrong on one line; the message begins with the field."""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"file {path} does not exist; expected JSON Lines, one question a line.") from None
    except OSError as error:
        raise UserError(f"file {path} cannot be read: {error.strerror}; expected JSON Lines.") from None


def _parsed(path: Path, parse: Callable[[dict[str, Any], int], _T]) -> list[tuple[int, _T]]:
    """Every line that is not blank, parsed; all mistakes are told at once."""
    found: list[tuple[int, _T]] = []
    mistakes: list[str] = []
    for number, line in enumerate(_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append((number, parse(_object(line), number)))
        except _MistakeError as mistake:
            mistakes.append(f"file {path}, line {number}, {mistake}")
    if mistakes:
        more = len(mistakes) - _LISTED_MISTAKES
        rest = (
            [f"file {path}: {len(mistakes)} lines are wrong; {more} more are not listed."] if more > 0 else []
        )
        raise UserError("\n".join([*mistakes[:_LISTED_MISTAKES], *rest]))
    if not found:
        raise UserError(f"file {path} is empty; expected JSON Lines, one question a line.")
    return found


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _MistakeError(
            f"whole line: not JSON in UTF-8 ({str(error)[:80]}); expected a JSON object."
        ) from None
    if not isinstance(row, dict):
        raise _MistakeError(f"whole line: got {_shown(row)}; expected a JSON object.")
    return row


def _question(row: dict[str, Any], split: Split) -> Question:
    options, answer = _options_and_answer(row)
    return Question(
        question_id=_id(row),
        split=split,
        question=_text(row, "question"),
        options=options,
        answer=answer,
        kind=_text(row, "kind") if row.get("kind") is not None else "",
        gold_passages=_texts(row, "passages", least=0) if row.get("passages") is not None else (),
    )


def _example(row: dict[str, Any], _: int) -> WorkedExample:
    options, answer = _options_and_answer(row)
    return WorkedExample(
        question=_text(row, "question"),
        options=options,
        answer=answer,
        passages=_texts(row, "passages", least=0) if row.get("passages") is not None else (),
        rationale=_text(row, "rationale"),
    )


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value!r:.60}"


def _id(row: dict[str, Any]) -> str:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise _MistakeError(f"field id: got {_shown(value)}; expected a text or a number that is not empty.")
    return str(value).strip()


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _MistakeError(f"field {name}: got {_shown(value)}; expected a text that is not empty.")
    return _encodable(value.strip(), name)


def _texts(row: dict[str, Any], name: str, least: int) -> tuple[str, ...]:
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise _MistakeError(
            f"field {name}: got {_shown(value)}; expected a list of texts that are not empty."
        )
    if len(value) < least:
        raise _MistakeError(f"field {name}: got {_shown(value)}; expected at least {least} texts.")
    return tuple(_encodable(item.strip(), name) for item in value)


def _encodable(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _MistakeError(
            f"field {name}: got half of a surrogate pair; expected text in Unicode."
        ) from None
    return text


def _options_and_answer(row: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    options = _texts(row, "options", least=2)
    folded = [option.casefold() for option in options]
    if len(set(folded)) < len(folded):
        raise _MistakeError(f"field options: got {_shown(list(options))}; expected options that all differ.")
    answer = row.get("answer")
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return options, answer
    if isinstance(answer, str) and answer.strip().casefold() in folded:
        return options, folded.index(answer.strip().casefold())
    expected = f"one of {_shown(list(options))} or an index from 0 to {len(options) - 1}"
    raise _MistakeError(f"field answer: got {_shown(answer)}; expected {expected}.")
