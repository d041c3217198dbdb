"""Held-out training questions: a student's loss on them, or how many it answers, chooses its best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from kard_ray.benchmarks.answers import Asked, read_answer
from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.errors import UserError
from kard_ray.student.config import StudentConfig
from kard_ray.training.held_out import is_held_out

Measure = Literal["loss", "accuracy"]

HELD_OUT = "held_out_"  # what is measured is reported and shown as held_out_loss or held_out_accuracy


@dataclass(frozen=True, slots=True)
class Gold:
    """What a held-out question's answer is judged by; plain, so that it reaches the workers."""

    options: tuple[str, ...]
    answer: int
    gold: str


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows that are trained on and rows that are only looked at (schema TRAINING)."""

    training: pa.Table
    rows: pa.Table
    golds: list[Gold]  # one for each of ``rows`` where answers are counted, else none
    form: AnswerForm
    measure: Measure


def measured_by(config: StudentConfig) -> Measure:
    """What is measured on held-out questions; the loss where they choose nothing."""
    return "accuracy" if config.best == "accuracy" else "loss"


def hold_out(
    table: pa.Table,
    questions: Sequence[Question],
    config: StudentConfig,
    form: AnswerForm,
    tokenizer: Any,
) -> HeldOut | None:
    """Divide ``table``; None when the recipe holds nothing out.

    Only rows of the last stage are looked at: they are what the student is for. Answers are counted once for each
    question, from its first row whose own target gives the gold answer. Raises UserError if one part would be empty.
    """
    if config.held_out == 0:
        return None
    chosen = [is_held_out(name, config.held_out, config.seed) for name in table["question_id"].to_pylist()]
    training = table.filter(pa.array([not held for held in chosen]))
    rows = table.filter(pa.array(chosen))
    if not training.num_rows or not rows.num_rows:
        count = len(set(table["question_id"].to_pylist()))
        what = "none of them" if not rows.num_rows else "all of them"
        raise UserError(
            f"field student.held_out: got {config.held_out}, which of {count} training questions with a rationale "
            f"holds out {what}; take another share or more questions."
        )
    rows = rows.filter(pc.equal(rows["stage"], pc.max(table["stage"])))
    measure = measured_by(config)
    if measure == "loss":
        return HeldOut(training, rows, [], form, measure)
    by_id = {question.question_id: question for question in questions}
    kept: dict[str, int] = {}
    for at, (name, target) in enumerate(
        zip(rows["question_id"].to_pylist(), rows["target_ids"].to_pylist(), strict=True)
    ):
        read = read_answer(tokenizer.decode(target, skip_special_tokens=True), by_id[name], form)
        if name not in kept and read is not None and read.correct:
            kept[name] = at
    if not kept:
        raise UserError(
            "field student.best: got accuracy, but no held-out question has a row whose target can be read as its "
            "answer; set it to loss."
        )
    golds = [Gold(tuple(q.options), q.answer, q.gold) for q in (by_id[name] for name in kept)]
    return HeldOut(training, rows.take(list(kept.values())), golds, form, measure)


def answered(texts: Sequence[str], golds: Sequence[Asked], form: AnswerForm) -> int:
    """How many of ``texts`` give the right answer; one that cannot be read does not."""
    read = [read_answer(text, gold, form) for text, gold in zip(texts, golds, strict=True)]
    return sum(answer is not None and answer.correct for answer in read)


def is_better(measure: Measure, value: float, than: float) -> bool:
    """Whether ``value`` is really better: of equal students the earlier one is kept."""
    return value > than if measure == "accuracy" else value < than


def best_of(evaluations: Sequence[Mapping[str, float]], measure: Measure) -> Mapping[str, float] | None:
    """The first best of ``evaluations`` (each with ``step`` and ``value``), or None without any."""
    best: Mapping[str, float] | None = None
    for found in evaluations:
        if best is None or is_better(measure, found["value"], best["value"]):
            best = found
    return best
