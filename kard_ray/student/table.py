"""The training table of one student: finished tables in, token ids out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.errors import UserError
from kard_ray.student.config import StudentConfig
from kard_ray.student.examples import (
    build_examples,
    evidence_by_question,
    help_by_rationale,
    passages_by_question,
    shots_by_question,
    tokenize,
)
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.rendering import Renderer


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingInputs:
    """What the rows of a student are made from; a table that its method does not read is None."""

    questions: Sequence[Question]
    rationales: pa.Table  # schema RATIONALES
    silver: pa.Table | None = None  # schema SILVER
    found: pa.Table | None = None  # schema QUESTION_PASSAGES
    compressed: pa.Table | None = None  # schema COMPRESSED
    shots: pa.Table | None = None  # schema SHOTS
    fractions: tuple[float, ...] = ()  # S_t of the curriculum's stages; none without a curriculum


def training_table(
    method: MethodName,
    inputs: TrainingInputs,
    config: StudentConfig,
    form: AnswerForm,
    tokenizer: Any,
    *,
    encoder_decoder: bool = False,
) -> pa.Table:
    """All rows the student sees (schema TRAINING), by ascending stage; raises UserError when there is none."""
    evidence = evidence_by_question(
        inputs.rationales,
        inputs.silver,
        help_by_rationale(inputs.compressed),
        per_question=config.rationales,
        seed=config.seed,
        choice=config.choose,
    )
    chosen = [q for q in inputs.questions if q.split == "train" and q.question_id in evidence]
    examples = build_examples(
        chosen,
        evidence,
        METHODS[method],
        found=passages_by_question(inputs.found),
        shots=shots_by_question(inputs.shots, chosen, evidence),
        passages=config.passages,
        form=form,
        alpha=config.alpha,
        fractions=inputs.fractions,
        answer_weight=config.answer_weight,
        found_share=config.found_share,
        seed=config.seed,
    )
    if not examples:
        raise UserError(
            "no training question has a kept rationale; look at counts.dropped in the manifest of the rationales "
            "stage, and raise teacher.samples or change teacher.filters."
        )
    return tokenize(examples, Renderer(tokenizer, config.rendering, form, encoder_decoder=encoder_decoder))
