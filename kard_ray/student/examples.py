"""Training rows of a student: questions, rationales and silver passages to token ids."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.student.methods.base import Evidence, Example, Method
from kard_ray.student.rendering import Renderer

# prompt_ids + target_ids are one training sequence; the loss is on target_ids only, each times the row's weight.
TRAINING = pa.schema(
    [
        pa.field("question_id", pa.string()),
        pa.field("prompt_ids", pa.list_(pa.int32())),
        pa.field("target_ids", pa.list_(pa.int32())),
        pa.field("weight", pa.float64()),
    ]
)


def evidence_by_question(
    rationales: pa.Table, silver: pa.Table | None, *, per_question: int, seed: int
) -> dict[str, list[Evidence]]:
    """Up to ``per_question`` kept rationales of each question, chosen at random from the seed."""
    passages = {}
    if silver is not None:
        for row in silver.to_pylist():
            passages[row["rationale_id"]] = [(p["title"], p["text"]) for p in row["passages"]]
    found: dict[str, list[Evidence]] = defaultdict(list)
    for row in rationales.sort_by("rationale_id").to_pylist():
        if row["kept"]:
            found[row["question_id"]].append(
                Evidence(rationale=row["rationale"], silver=passages.get(row["rationale_id"], []))
            )
    for question_id, items in found.items():
        random.Random(f"{seed}:{question_id}").shuffle(items)
        del items[per_question:]
    return dict(found)


def passages_by_question(found: pa.Table | None) -> dict[str, list[tuple[str, str]]]:
    """What each question found (schema QUESTION_PASSAGES), best first, as (title, text)."""
    rows = found.to_pylist() if found is not None else []
    return {row["question_id"]: [(p["title"], p["text"]) for p in row["passages"]] for row in rows}


def build_examples(
    questions: Sequence[Question],
    evidence: dict[str, list[Evidence]],
    method: Method,
    *,
    found: Mapping[str, Sequence[tuple[str, str]]],
    passages: int,
    form: AnswerForm,
    alpha: float,
) -> list[Example]:
    """Rows of ``method`` for ``questions``, in question order; ``found`` as in :func:`passages_by_question`.

    Methods without rationales are given only the questions that have one too, so that methods are compared on the
    same training questions.
    """
    rows: list[Example] = []
    for question in questions:
        items = evidence.get(question.question_id, [])
        if items:
            rows += method.examples(
                question,
                items,
                found=found.get(question.question_id, ()),
                passages=passages,
                form=form,
                alpha=alpha,
            )
    return rows


def tokenize(examples: Sequence[Example], renderer: Renderer) -> pa.Table:
    """Schema TRAINING; every row has at least one label token (the EOS)."""
    rows = [
        {
            "question_id": e.question.question_id,
            "prompt_ids": renderer.prompt_ids(e.question.question, e.question.options, e.passages, e.cue),
            "target_ids": renderer.target_ids(e.target),
            "weight": e.weight,
        }
        for e in examples
    ]
    return pa.Table.from_pylist(rows, schema=TRAINING)
