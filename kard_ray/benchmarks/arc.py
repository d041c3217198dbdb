"""ARC, questions of school science (Clark et al., arXiv 1803.05457), in its original format.

Each split is a file of JSON Lines: ``id``, ``question`` with ``stem`` and ``choices`` (``text`` and ``label``), and
``answerKey``. Labels are letters, or digits from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.arc_examples import EXAMPLES
from kard_ray.benchmarks.files import (
    MistakeError,
    files_of_splits,
    fingerprint_of,
    parsed_lines,
    shown,
    text_field,
)
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.benchmarks.splits import not_held_out, refuse_repeated_ids
from kard_ray.runtime.config import Frozen


class ArcConfig(Frozen):
    """A folder with train.jsonl, dev.jsonl and test.jsonl of one of the two sets; a missing file gives no rows."""

    kind: Literal["arc_easy", "arc_challenge"]
    path: str = Field(min_length=1)  # the folder of that set


class Arc:
    """Benchmark read from ARC's files."""

    def __init__(self, config: ArcConfig) -> None:
        self._config = config

    @property
    def name(self) -> str:
        """Arc_easy or arc_challenge."""
        return self._config.kind

    def fingerprint(self) -> str:
        """SHA-256 over the files' contents, 16 digits. Raises UserError if there are none."""
        return fingerprint_of(self._files())

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions in the files' order. Raises UserError that lists every mistake.

        A train question that also stands in the dev or test file, with the same options, is left out of train.
        """
        rows: dict[Split, list[Question]] = {split: [] for split in get_args(Split)}
        for split, path in self._files().items():
            rows[split] = parsed_lines(path, partial(_question, split=split, kind=self._config.kind))
        held_out = [*rows["dev"], *rows["test"]]
        found = [*not_held_out(rows["train"], held_out), *held_out]
        refuse_repeated_ids(found, self._config.path)
        return iter(found)

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Four worked examples of school science, none of them from the files."""
        return EXAMPLES

    def _files(self) -> dict[Split, Path]:
        return files_of_splits(self._config.path, get_args(Split), ".jsonl", self._config.kind)


def _question(row: dict[str, Any], _: int, *, split: Split, kind: str) -> Question:
    asked = row.get("question")
    if not isinstance(asked, dict):
        raise MistakeError(f"field question: got {shown(asked)}; expected an object with stem and choices.")
    choices = asked.get("choices")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, dict) for c in choices):
        raise MistakeError(
            f"field question.choices: got {shown(choices)}; expected at least two objects with text and label."
        )
    labels = [text_field(choice, "label") for choice in choices]
    key = text_field(row, "answerKey")
    if labels.count(key) != 1:
        raise MistakeError(
            f"field answerKey: got {shown(key)}; expected one of {', '.join(labels)}, each once."
        )
    return Question(
        question_id=f"{kind}-{text_field(row, 'id')}",
        split=split,
        question=text_field(asked, "stem"),
        options=tuple(text_field(choice, "text") for choice in choices),
        answer=labels.index(key),
        kind=kind,
    )
