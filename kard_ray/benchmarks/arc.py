"""ARC, questions of school science (Clark et al., arXiv 1803.05457), in AI2's form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from kard_ray.benchmarks.ai2_format import ai2_question
from kard_ray.benchmarks.arc_examples import EXAMPLES
from kard_ray.benchmarks.files import parsed_rows
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.benchmarks.sources import Source, SourceConfig
from kard_ray.benchmarks.splits import in_split, not_held_out, refuse_repeated_ids


class ArcEasyConfig(SourceConfig):
    """A folder with train, dev and test of the easy set; a missing file gives no rows."""

    HUB: ClassVar[str] = "allenai/ai2_arc"
    FOLDERS: ClassVar[tuple[str, ...]] = ("ARC-Easy",)

    kind: Literal["arc_easy"] = "arc_easy"


class ArcChallengeConfig(SourceConfig):
    """A folder with train, dev and test of the challenge set; a missing file gives no rows."""

    HUB: ClassVar[str] = "allenai/ai2_arc"
    FOLDERS: ClassVar[tuple[str, ...]] = ("ARC-Challenge",)

    kind: Literal["arc_challenge"] = "arc_challenge"


class Arc:
    """Benchmark read from the files of one of the two sets."""

    def __init__(self, config: ArcEasyConfig | ArcChallengeConfig) -> None:
        self._config = config
        self._source = Source(config, config.kind)

    @property
    def name(self) -> str:
        """Arc_easy or arc_challenge."""
        return self._config.kind

    def fingerprint(self) -> str:
        """The hub's commit, or SHA-256 over a folder's files, 16 digits. Raises UserError if there are none."""
        return self._source.fingerprint(self._files)

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions in the files' order. Raises UserError that lists every mistake.

        A train question that also stands in the dev or test file, with the same options, is left out of train.
        """
        rows: dict[Split, list[Question]] = {split: [] for split in get_args(Split)}
        for split, paths in self._files().items():
            found = [row for path in paths for row in parsed_rows(path, self._read)]
            rows[split] = in_split(found, split)
        held_out = [*rows["dev"], *rows["test"]]
        kept = [*not_held_out(rows["train"], held_out), *held_out]
        refuse_repeated_ids(kept, self._source.where)
        return iter(kept)

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Four worked examples of school science, none of them from the files."""
        return EXAMPLES

    def _read(self, row: dict[str, Any], _: int) -> Question:
        return ai2_question(row, self._config.kind)

    def _files(self) -> dict[Split, list[Path]]:
        return self._source.splits(get_args(Split), ".jsonl")
