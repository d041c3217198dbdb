"""GSM-Plus: GSM8K's test questions, each altered in eight ways (Li et al., arXiv 2402.19255).

Rows hold ``question``, ``answer``, ``perturbation_type`` and ``seed_question``. It is a test of what was learnt from
GSM8K, so all its questions are test questions unless a dev split is asked for. An answer is a number, or ``None`` where
the question lacks what it takes to answer it ("critical thinking"); right is then to say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.answers import NO_ANSWER, open_kind
from kard_ray.benchmarks.files import MistakeError, parsed_rows, shown, text_field
from kard_ray.benchmarks.gsm8k_examples import EXAMPLES
from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.benchmarks.sources import Source, SourceConfig
from kard_ray.benchmarks.splits import grouped_share, in_split, with_ids

Perturbation = Literal[
    "numerical substitution",
    "digit expansion",
    "integer-decimal-fraction conversion",
    "adding operation",
    "reversing operation",
    "problem understanding",
    "distraction insertion",
    "critical thinking",
]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)


class GsmPlusConfig(SourceConfig):
    """A folder with the published file of test or testmini, or the hub's data set."""

    HUB: ClassVar[str] = "qintongli/GSM-Plus"

    kind: Literal["gsm_plus"] = "gsm_plus"
    version: Literal["test", "testmini"] = "test"  # 10,552 questions; 2,400, those of 300 seed questions
    # Each is a kind in the report
    perturbations: tuple[Perturbation, ...] = Field(PERTURBATIONS, min_length=1)
    dev_fraction: float = Field(0.0, ge=0, lt=1)  # of the seed questions, whose variants all go together


class GsmPlus:
    """Benchmark of open questions whose answers are numbers, or none."""

    name = "gsm_plus"

    def __init__(self, config: GsmPlusConfig) -> None:
        self._config = config
        self._source = Source(config, "GSM-Plus")

    def fingerprint(self) -> str:
        """The hub's commit, or SHA-256 over the file, 16 digits. Raises UserError if there is none."""
        return self._source.fingerprint(self._files)

    def questions(self) -> Iterator[Question]:
        """Dev, then test questions in the file's order. Raises UserError that lists every mistake."""
        (paths,) = self._files().values()
        found = [pair for path in paths for pair in parsed_rows(path, plus_question)]
        rows = with_ids((row for row, _ in found), "gsm_plus")
        seeds = {row.question_id: seed for row, (_, seed) in zip(rows, found, strict=True)}
        dev = grouped_share(seeds, self._config.dev_fraction, "gsm_plus/dev")
        rows = [row for row in rows if row.kind in self._config.perturbations]
        yield from in_split((row for row in rows if row.question_id in dev), "dev")
        yield from (row for row in rows if row.question_id not in dev)

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """GSM8K's worked examples."""
        return EXAMPLES

    def _files(self) -> dict[str, list[Path]]:
        version = self._config.version
        names = [
            f"{place}{begin}{version}{end}"
            for place in ("", "data/", "dataset/")
            for begin in ("", "gsmplus_", "GSM-Plus_")
            for end in (".jsonl", "-*.jsonl", ".parquet", "-*.parquet")
        ]
        return self._source.files({version: names}, field="version")


def plus_question(row: dict[str, Any], _: int) -> tuple[Question, str]:
    """A question whose id is still to be given, and the question that it was made from."""
    answer, kind = text_field(row, "answer"), text_field(row, "perturbation_type")
    if kind not in PERTURBATIONS:
        raise MistakeError(
            f"field perturbation_type: got {shown(kind)}; expected one of {', '.join(PERTURBATIONS)}."
        )
    if open_kind(answer) not in ("number", "none"):
        raise MistakeError(f"field answer: got {shown(answer)}; expected a number or {NO_ANSWER}.")
    question = Question(
        question_id="", split="test", question=text_field(row, "question"), gold=answer, kind=kind
    )
    return question, text_field(row, "seed_question")
