"""What a benchmark is made of: questions, their Arrow schema, and worked examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

Split = Literal["train", "dev", "test"]

QUESTIONS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("pattern", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("options", pa.list_(pa.string()), nullable=False),
        pa.field("answer", pa.int32(), nullable=False),
        pa.field("gold", pa.string(), nullable=False),
        pa.field("gold_passages", pa.list_(pa.string()), nullable=False),
        pa.field("subjects", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question: with options, ``answer`` is an index into them; without, it is open and ``gold`` is its answer.

    An open question's ``answer`` is -1. Its ``gold`` is a number without separators ("1200") or a text; see
    :mod:`kard_ray.benchmarks.answers` for how it is compared. ``gold`` is empty when there are options.
    ``kind`` groups questions in the report. ``pattern`` is the form of the reasoning, finer than ``kind``: the teacher
    is shown worked examples of the same pattern. ``gold_passages`` are the ids of the passages that carry its facts
    (empty when not known); ``subjects`` are what it asks about: no subject is shared by train and test when they are
    given.
    """

    question_id: str
    split: Split
    question: str
    options: tuple[str, ...] = ()
    answer: int = -1
    gold: str = ""
    kind: str = ""
    pattern: str = ""
    gold_passages: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    @property
    def answer_text(self) -> str:
        """The gold option's text, or an open question's gold answer."""
        return self.options[self.answer] if self.options else self.gold


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkedExample:
    """A few-shot example for the teacher: a question, its passages' texts, and a rationale by hand.

    ``rationale`` does not hold the closing "So the answer is ..." sentence: the renderer adds it.
    """

    question: str
    rationale: str
    options: tuple[str, ...] = ()
    answer: int = -1
    gold: str = ""  # of an open question
    passages: tuple[str, ...] = ()

    @property
    def answer_text(self) -> str:
        """The gold option's text, or an open question's gold answer."""
        return self.options[self.answer] if self.options else self.gold


class Benchmark(Protocol):
    """What one benchmark file supplies."""

    @property
    def name(self) -> str:
        """The name used in recipes and reports."""
        ...

    def fingerprint(self) -> str:
        """Version or hash of the raw data: another one makes another artifact."""
        ...

    def questions(self) -> Iterator[Question]:
        """All questions of all splits, in a fixed order."""
        ...

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Worked examples for the teacher, fit for questions of ``pattern``."""
        ...


def to_table(questions: Iterable[Question]) -> pa.Table:
    """Questions as an Arrow table of schema QUESTIONS, one row each, in order."""
    rows = list(questions)
    columns = {name: [getattr(q, name) for q in rows] for name in QUESTIONS.names}
    return pa.table(columns, schema=QUESTIONS)


def from_table(table: pa.Table) -> list[Question]:
    """Inverse of :func:`to_table`."""
    return [
        Question(
            question_id=row["question_id"],
            split=row["split"],
            kind=row["kind"],
            pattern=row["pattern"],
            question=row["question"],
            options=tuple(row["options"]),
            answer=row["answer"],
            gold=row["gold"],
            gold_passages=tuple(row["gold_passages"]),
            subjects=tuple(row["subjects"]),
        )
        for row in table.to_pylist()
    ]
