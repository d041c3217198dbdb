"""A user's own questions as JSON Lines: ``id``, ``question``, ``options``, ``answer``, and optional fields.

``answer`` is an option's text or its index from 0. A question whose ``options`` are an empty list is open: its
``answer`` is the number or the text itself. ``passages`` are the ids of the passages that carry its
facts; ``kind`` groups questions in the report. Other fields are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kard_ray.benchmarks.files import MistakeError, encodable, fingerprint_of, parsed_lines, shown, text_field
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError


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
        files: dict[str, Path] = {split: Path(path) for split, path in self._paths().items()}
        if self._config.examples is not None:
            files["examples"] = Path(self._config.examples)
        return fingerprint_of(files)

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
        return parsed_lines(path, _example)

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
            raise MistakeError(
                f"field id: {question.question_id!r} also stands on line {lines[question.question_id]}; "
                "expected an id that no other line has."
            )
        lines[question.question_id] = number
        return question

    return parsed_lines(path, parse)


def _question(row: dict[str, Any], split: Split) -> Question:
    options, answer, gold = _options_and_answer(row)
    return Question(
        question_id=_id(row),
        split=split,
        question=text_field(row, "question"),
        options=options,
        answer=answer,
        gold=gold,
        kind=text_field(row, "kind") if row.get("kind") is not None else "",
        gold_passages=_texts(row, "passages", least=0) if row.get("passages") is not None else (),
    )


def _example(row: dict[str, Any], _: int) -> WorkedExample:
    options, answer, gold = _options_and_answer(row)
    return WorkedExample(
        question=text_field(row, "question"),
        options=options,
        answer=answer,
        gold=gold,
        passages=_texts(row, "passages", least=0) if row.get("passages") is not None else (),
        rationale=text_field(row, "rationale"),
    )


def _id(row: dict[str, Any]) -> str:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise MistakeError(f"field id: got {shown(value)}; expected a text or a number that is not empty.")
    return str(value).strip()


def _texts(row: dict[str, Any], name: str, least: int) -> tuple[str, ...]:
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise MistakeError(f"field {name}: got {shown(value)}; expected a list of texts that are not empty.")
    if len(value) < least:
        raise MistakeError(f"field {name}: got {shown(value)}; expected at least {least} texts.")
    return tuple(encodable(item.strip(), name) for item in value)


def _options_and_answer(row: dict[str, Any]) -> tuple[tuple[str, ...], int, str]:
    """Options, index of the answer, and, when the options are an empty list, the answer itself."""
    answer = row.get("answer")
    if row.get("options") == []:
        number = isinstance(answer, int | float) and not isinstance(answer, bool)
        return (), -1, str(answer) if number else text_field(row, "answer")
    options = _texts(row, "options", least=2)
    folded = [option.casefold() for option in options]
    if len(set(folded)) < len(folded):
        raise MistakeError(f"field options: got {shown(list(options))}; expected options that all differ.")
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return options, answer, ""
    if isinstance(answer, str) and answer.strip().casefold() in folded:
        return options, folded.index(answer.strip().casefold()), ""
    expected = f"one of {shown(list(options))} or an index from 0 to {len(options) - 1}"
    raise MistakeError(f"field answer: got {shown(answer)}; expected {expected}.")
