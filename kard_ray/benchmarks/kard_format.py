"""KARD's published benchmark files (MedQA, StrategyQA, OpenBookQA; arXiv 2305.18395), read from a folder.

Each split is a file of JSON Lines with the fields ``id``, ``sent1`` (the question), ``ending0`` ... (the
options, empty ones at the end are none) and ``label`` (the index of the right one).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.files import (
    MistakeError,
    encodable,
    files_of_splits,
    fingerprint_of,
    parsed_lines,
    shown,
    text_field,
)
from kard_ray.benchmarks.kard_examples import EXAMPLES
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.benchmarks.splits import in_split, not_held_out, refuse_repeated_ids, wording
from kard_ray.runtime.config import Frozen


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
        return fingerprint_of(self._files())

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions in the files' order. Raises UserError that lists every mistake."""
        rows: dict[Split, list[Question]] = {split: [] for split in get_args(Split)}
        for split, path in self._files().items():
            rows[split] = parsed_lines(path, partial(_question, split=split, kind=self._config.kind))
        train = not_held_out(rows["train"], [*rows["dev"], *rows["test"]])
        if not rows["dev"]:
            chosen = self._dev_wordings(train)
            rows["dev"] = in_split((row for row in train if wording(row.question) in chosen), "dev")
            train = [row for row in train if wording(row.question) not in chosen]
        found = [*train, *rows["dev"], *rows["test"]]
        refuse_repeated_ids(found, self._config.path)
        return iter(found)

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Three worked examples in the style of the benchmark, none of them from its files."""
        return EXAMPLES[self._config.kind]

    def _files(self) -> dict[Split, Path]:
        wanted: tuple[Split, ...] = (
            ("train", "test") if self._config.kind == "strategyqa" else get_args(Split)
        )
        return files_of_splits(self._config.path, wanted, ".json", f"{self._config.kind} in KARD's format")

    def _dev_wordings(self, train: Sequence[Question]) -> set[str]:
        """The wordings that make up the dev split: dev_fraction of the different ones."""
        keys = sorted({wording(row.question) for row in train})
        rng = random.Random(f"{self._config.kind}/{self._config.seed}/dev")
        return set(rng.sample(keys, round(len(keys) * self._config.dev_fraction)))


def _question(row: dict[str, Any], _: int, *, split: Split, kind: str) -> Question:
    given_id, question = text_field(row, "id"), text_field(row, "sent1")
    endings = [row[name] for name in (f"ending{index}" for index in range(10)) if name in row]
    if not all(isinstance(ending, str) for ending in endings):
        raise MistakeError(f"field ending0 ...: got {shown(endings)}; expected texts.")
    options = [encodable(ending.strip(), "ending0 ...") for ending in endings]
    while options and not options[-1]:
        options.pop()
    if len(options) < 2 or not all(options):
        raise MistakeError(
            f"field ending0 ...: got {shown(endings)}; expected at least two options, empty ones only at the end."
        )
    label = row.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(options):
        raise MistakeError(
            f"field label: got {shown(label)}; expected an index from 0 to {len(options) - 1}."
        )
    return Question(
        question_id=f"{kind}-{given_id}",
        split=split,
        question=question,
        options=tuple(options),
        answer=label,
        kind=kind,
    )
