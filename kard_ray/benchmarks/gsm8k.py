"""GSM8K, grade-school mathematics in words (Cobbe et al., arXiv 2110.14168).

``train`` and ``test`` hold ``question`` and ``answer``; the answer ends in ``#### 72``. The questions are
open: their gold answer is that number. There is no dev file; dev is made from train.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from kard_ray.benchmarks.answers import numbers_in
from kard_ray.benchmarks.files import MistakeError, parsed_rows, text_field
from kard_ray.benchmarks.gsm8k_examples import EXAMPLES
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.benchmarks.sources import Source, SourceConfig
from kard_ray.benchmarks.splits import hashed_share, in_split, not_held_out, with_ids


class Gsm8kConfig(SourceConfig):
    """A folder with train and test as published; a missing file gives no rows."""

    HUB: ClassVar[str] = "openai/gsm8k"
    FOLDERS: ClassVar[tuple[str, ...]] = ("main",)

    kind: Literal["gsm8k"] = "gsm8k"
    dev_fraction: float = Field(0.1, gt=0, lt=1)  # of train, by a hash of the question


class Gsm8k:
    """Benchmark of open questions whose answers are numbers."""

    name = "gsm8k"

    def __init__(self, config: Gsm8kConfig) -> None:
        self._config = config
        self._source = Source(config, "GSM8K")

    def fingerprint(self) -> str:
        """The hub's commit, or SHA-256 over a folder's files, 16 digits. Raises UserError if there are none."""
        return self._source.fingerprint(self._files)

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions in the files' order. Raises UserError that lists every mistake.

        A train question that also stands in the test file is left out of train.
        """
        rows: dict[Split, list[Question]] = {"train": [], "test": []}
        for split, paths in self._files().items():
            found = [row for path in paths for row in parsed_rows(path, _question)]
            rows[split] = with_ids(in_split(found, split), "gsm8k")
        train = not_held_out(rows["train"], rows["test"])
        dev = hashed_share(train, self._config.dev_fraction, "gsm8k/dev")
        yield from (row for row in train if row.question_id not in dev)
        yield from in_split((row for row in train if row.question_id in dev), "dev")
        yield from rows["test"]

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Four worked examples that spell out small arithmetic, none of them from the files."""
        return EXAMPLES

    def _files(self) -> dict[Split, list[Path]]:
        return self._source.splits(("train", "test"), ".jsonl")


def _question(row: dict[str, Any], _: int) -> Question:
    """A question whose id and split are still to be given."""
    solution, mark, end = text_field(row, "answer").rpartition("####")
    numbers = numbers_in(end)
    if not mark or len(numbers) != 1:
        raise MistakeError(
            f"field answer: got ...{(mark + end or solution)[-60:]!r}; expected '#### NUMBER' at its end."
        )
    return Question(question_id="", split="train", question=text_field(row, "question"), gold=numbers[0])
