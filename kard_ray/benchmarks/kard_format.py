"""KARD's published benchmark files (MedQA, StrategyQA, OpenBookQA; arXiv 2305.18395), read from a folder.

Each split is a file of JSON Lines with the fields ``id``, ``sent1`` (the question), ``ending0`` ... (the
options, empty ones at the end are none) and ``label`` (the index of the right one).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.kard_examples import EXAMPLES
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

_LISTED_MISTAKES = 20


class KardFormatConfig(Frozen):
    """A folder with train.json, dev.json and test.json in KARD's format; a missing file gives no rows."""

    kind: Literal["medqa", "strategyqa", "openbookqa"]
    path: str = Field(min_length=1)  # the folder
    dev_fraction: float = Field(0.1, gt=0, lt=1)  # of train, where dev has to be made from it
    seed: int = 0  # of that division


class KardFormat:
    """Benchmark read from KARD's files.

    StrategyQA's dev file equals its test file, so its dev split is always made from train; so is a dev split
    whose file is missing. Questions with the same text go to the same side. A train question that also
    stands in the test or dev file, with the same options, is left out of train.
    """

    def __init__(self, config: KardFormatConfig) -> None:
        self._config = config

    @property
    def name(self) -> str:
        """Medqa, strategyqa or openbookqa."""
        return self._config.kind

    def fingerprint(self) -> str:
        """SHA-256 over the files' contents, 16 digits. Raises UserError if there are none."""
        digest = hashlib.sha256()
        for path in self._files().values():
            data = path.read_bytes()
            digest.update(f"{path.name} {len(data)} ".encode() + data)
        return digest.hexdigest()[:16]

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions in the files' order. Raises UserError that lists every mistake."""
        rows: dict[Split, list[Question]] = {split: [] for split in get_args(Split)}
        for split, path in self._files().items():
            rows[split] = _read(path, split, self._config.kind)
        held_out = {(_key(row), row.options) for row in (*rows["dev"], *rows["test"])}
        train = [row for row in rows["train"] if (_key(row), row.options) not in held_out]
        if not rows["dev"]:
            chosen = self._dev_keys(train)
            rows["dev"] = [_moved(row, "dev") for row in train if _key(row) in chosen]
            train = [row for row in train if _key(row) not in chosen]
        seen: set[str] = set()
        for row in (*train, *rows["dev"], *rows["test"]):
            if row.question_id in seen:
                raise UserError(
                    f"folder {self._config.path}, field id: {row.question_id!r} stands twice; "
                    "expected an id that no other question has."
                )
            seen.add(row.question_id)
            yield row

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Three worked examples in the style of the benchmark, none of them from its files."""
        return EXAMPLES[self._config.kind]

    def _files(self) -> dict[Split, Path]:
        folder = Path(self._config.path)
        wanted: tuple[Split, ...] = (
            ("train", "test") if self._config.kind == "strategyqa" else get_args(Split)
        )
        found = {split: folder / f"{split}.json" for split in wanted if (folder / f"{split}.json").is_file()}
        if not found:
            raise UserError(
                f"recipe field benchmark.path: the folder {folder} holds none of "
                f"{', '.join(f'{split}.json' for split in wanted)}; expected KARD's files of {self._config.kind}."
            )
        return found

    def _dev_keys(self, train: Sequence[Question]) -> set[str]:
        """The question texts that make up the dev split: dev_fraction of the different ones."""
        keys = sorted({_key(row) for row in train})
        rng = random.Random(f"{self._config.kind}/{self._config.seed}/dev")
        return set(rng.sample(keys, round(len(keys) * self._config.dev_fraction)))


def _key(row: Question) -> str:
    return " ".join(row.question.casefold().split())


def _moved(row: Question, split: Split) -> Question:
    return Question(
        question_id=row.question_id,
        split=split,
        question=row.question,
        options=row.options,
        answer=row.answer,
        kind=row.kind,
    )


def _read(path: Path, split: Split, kind: str) -> list[Question]:
    rows: list[Question] = []
    mistakes: list[str] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        parsed = _parse(line, split, kind)
        if isinstance(parsed, Question):
            rows.append(parsed)
        else:
            mistakes.append(f"file {path}, line {number}, {parsed}")
    if mistakes:
        count = [f"file {path}: {len(mistakes)} lines are wrong."] if len(mistakes) > _LISTED_MISTAKES else []
        raise UserError("\n".join([*mistakes[:_LISTED_MISTAKES], *count]))
    if not rows:
        raise UserError(f"file {path} is empty; expected JSON Lines in KARD's format.")
    return rows


def _parse(line: bytes, split: Split, kind: str) -> Question | str:
    """One line as a question, or what is wrong with it."""
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        return "whole line: not JSON in UTF-8; expected a JSON object."
    if not isinstance(row, dict):
        return f"whole line: got {row!r:.60}; expected a JSON object."
    for name in ("id", "sent1"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"field {name}: got {row.get(name)!r:.60}; expected a text that is not empty."
    endings = [row[name] for name in (f"ending{index}" for index in range(10)) if name in row]
    if not all(isinstance(ending, str) for ending in endings):
        return f"field ending0 ...: got {endings!r:.60}; expected texts."
    options = [ending.strip() for ending in endings]
    while options and not options[-1]:
        options.pop()
    if len(options) < 2 or not all(options):
        return f"field ending0 ...: got {endings!r:.60}; expected at least two options, empty ones only at the end."
    label = row.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(options):
        return f"field label: got {label!r:.60}; expected an index from 0 to {len(options) - 1}."
    return Question(
        question_id=f"{kind}-{row['id'].strip()}",
        split=split,
        question=row["sent1"].strip(),
        options=tuple(options),
        answer=label,
        kind=kind,
    )
