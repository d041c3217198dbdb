"""Benchmarks of one file per split whose dev and test splits can also be made from train: KARD's three."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.files import parsed_rows
from kard_ray.benchmarks.kard_examples import EXAMPLES
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.benchmarks.sources import Source, SourceConfig
from kard_ray.benchmarks.splits import in_split, not_held_out, refuse_repeated_ids, with_ids, wording


class DividedConfig(SourceConfig):
    """Files of train, dev and test; a missing one gives no rows, but for dev, which is then made from train."""

    # "train" makes dev from train even where there is a dev file, which is then not read: published rationales cover
    # train questions alone, and only such a dev split has silver passages.
    dev_from: Literal["file", "train"] = "file"
    dev_fraction: float = Field(0.1, gt=0, lt=1)  # of train, where dev has to be made from it
    test_fraction: float | None = Field(None, gt=0, lt=1)  # of train, for test where there is no test file
    seed: int = 0  # of these divisions

    # Fields that say nothing at these values: the questions, and the artifact's key, are as without them.
    _IDLE: ClassVar[dict[str, Any]] = {"dev_from": "file", "test_fraction": None, "gold_passages": False}

    def content(self) -> dict[str, Any]:
        """As everywhere, without the fields that change nothing at their values."""
        return {n: v for n, v in super().content().items() if n not in self._IDLE or v != self._IDLE[n]}


class Divided(ABC):
    """Benchmark read from such files.

    Questions of the same wording go to the same side. A train question that also stands in a file that is read as test
    or dev, with the same options, is left out of train.
    """

    name: ClassVar[str]
    DEV_FILE: ClassVar[bool] = True  # False: the published dev file is not apart from test, and is never read

    def __init__(self, config: DividedConfig) -> None:
        self._config = config
        self._source = Source(config, self.name)

    @abstractmethod
    def read(self, row: dict[str, Any]) -> Question:
        """The question of one row, in the train split for now, without an id if the row has none.

        Raises MistakeError for what is wrong with it.
        """

    def fingerprint(self) -> str:
        """The hub's commit, or SHA-256 over a folder's files, 16 digits. Raises UserError if there are none."""
        return self._source.fingerprint(self._files)

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions in the files' order. Raises UserError that lists every mistake."""
        rows: dict[Split, list[Question]] = {split: [] for split in get_args(Split)}
        for split, paths in self._files().items():
            found = [row for path in paths for row in parsed_rows(path, lambda row, _: self.read(row))]
            rows[split] = in_split(found, split)
        train = not_held_out(rows["train"], [*rows["dev"], *rows["test"]])
        wordings = len({wording(row.question) for row in train})
        for split, fraction in self._fractions().items():
            if not rows[split]:
                chosen = self._wordings(train, split, round(wordings * fraction))
                rows[split] = in_split((row for row in train if wording(row.question) in chosen), split)
                train = [row for row in train if wording(row.question) not in chosen]
        found = _all_with_ids([*train, *rows["dev"], *rows["test"]], self.name)
        refuse_repeated_ids(found, self._source.where)
        return iter(found)

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Three worked examples in the style of the benchmark, none of them from its files."""
        return EXAMPLES[self.name]

    def _files(self) -> dict[Split, list[Path]]:
        from_train = not self.DEV_FILE or self._config.dev_from == "train"
        wanted: tuple[Split, ...] = ("train", "test") if from_train else get_args(Split)
        return self._source.splits(wanted, ".json")

    def _fractions(self) -> dict[Split, float]:
        """Of train, by the split that is made from it where it has no file; dev comes first: test never moves it."""
        fractions: dict[Split, float | None] = {
            "dev": self._config.dev_fraction,
            "test": self._config.test_fraction,
        }
        return {split: fraction for split, fraction in fractions.items() if fraction is not None}

    def _wordings(self, train: Sequence[Question], split: Split, count: int) -> set[str]:
        """The wordings that make up ``split``: ``count`` of those in ``train``, or all if there are fewer."""
        keys = sorted({wording(row.question) for row in train})
        rng = random.Random(f"{self.name}/{self._config.seed}/{split}")
        return set(rng.sample(keys, min(count, len(keys))))


def _all_with_ids(rows: list[Question], prefix: str) -> list[Question]:
    """``rows``, those without an id with one from their content."""
    named = iter(with_ids((row for row in rows if not row.question_id), prefix))
    return [row if row.question_id else next(named) for row in rows]
