"""Read the answers of a question's samples, and let their majority answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from kard_ray.benchmarks.answers import Answer, read_answer
from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.evaluation.voting import majority

SAMPLES = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("sample", pa.int32()),  # from 0
        ("generated_text", pa.string()),
        ("prediction_text", pa.string()),  # null when none could be read
    ]
)


def read_samples(
    row: Mapping[str, Any], question: Question, form: AnswerForm
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Columns of PREDICTIONS that the samples of ``row`` (schema WRITTEN) decide, and the rows of SAMPLES.

    One sample answers with its own confidence; several vote, and the confidence is the share of the votes. The text is
    that of the first sample with the answer. Without a readable answer it is the first text, and the row is wrong.
    """
    samples: Sequence[Mapping[str, Any]] = row["samples"]
    answers = [_answer(sample, question, form) for sample in samples]
    kept = [
        {
            "prediction_id": row["prediction_id"],
            "sample": at,
            "generated_text": _text(sample),
            "prediction_text": answer.text if answer else None,
        }
        for at, (sample, answer) in enumerate(zip(samples, answers, strict=True))
    ]
    vote = majority([_vote(answer) for answer in answers])
    chosen = vote[0] if vote else 0
    answer = answers[chosen] if vote else None
    sample = samples[chosen] if samples else None
    confidence = sample["confidence"] if sample else None
    if len(samples) > 1:
        confidence = vote[1] if vote else None
    return {
        "generated_text": _text(sample) if sample else "",
        "prediction": answer.option if answer else None,
        "prediction_text": answer.text if answer else None,
        "correct": answer is not None and answer.correct,
        "confidence": confidence,
        "option_log_probs": sample["option_log_probs"] if sample else None,
    }, kept


def was_cut(row: Mapping[str, Any], limit: int, *, also_at_once: bool = False) -> bool:
    """Whether a text of ``row`` (schema WRITTEN) has ``limit`` tokens, all that it may have, and so probably no end.

    Scored options, the last calls, are no texts: one call for each sample, and with ``also_at_once`` one more.
    """
    calls, samples = row["calls"], row["samples"]
    if any(sample["option"] is not None for sample in samples):
        calls = calls[: len(calls) - len(samples) - also_at_once]
    return any(tokens >= limit for call in calls for tokens in call["generated_tokens"])


def _text(sample: Mapping[str, Any]) -> str:
    return "\n".join(text for text in sample["texts"] if text)


def _answer(sample: Mapping[str, Any], question: Question, form: AnswerForm) -> Answer | None:
    """The option that was scored highest, else what the text of the last pass concludes with."""
    option = sample["option"]
    if option is None:
        return read_answer(sample["texts"][-1], question, form)
    return Answer(text=question.options[option], option=option, correct=option == question.answer)


def _vote(answer: Answer | None) -> int | str | None:
    """What counts as the same answer: the option, or the open answer without regard to case."""
    if answer is None:
        return None
    return answer.text.casefold() if answer.option is None else answer.option
