"""Rows of PREDICTIONS for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from kard_ray.benchmarks.question import Question

SCHEMA = pa.schema(
    [
        pa.field("prediction_id", pa.string()),
        pa.field("question_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("passage_ids", pa.list_(pa.string())),
        pa.field("generated_text", pa.string()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("generated_tokens", pa.int32()),
        pa.field("error", pa.string()),
        pa.field("prediction_text", pa.string()),
        pa.field("correct", pa.bool_()),
        pa.field(
            "calls",
            pa.list_(pa.struct([("prompt_tokens", pa.int32()), ("generated_tokens", pa.list_(pa.int32()))])),
        ),
        pa.field("confidence", pa.float64()),
        pa.field("seconds", pa.float64()),
    ]
)


def answer(question: str, *, correct: bool = True, source: str = "none", **fields: Any) -> dict[str, Any]:
    """One row; tokens follow from ``calls`` (by default one prompt of 10 tokens and 4 written)."""
    calls = fields.pop("calls", [{"prompt_tokens": 10, "generated_tokens": [4]}])
    return {
        "prediction_id": f"{source}/{question}",
        "question_id": question,
        "source": source,
        "passage_ids": [],
        "generated_text": "So the answer is x.",
        "prompt_tokens": sum(call["prompt_tokens"] for call in calls),
        "generated_tokens": sum(sum(call["generated_tokens"]) for call in calls),
        "error": "",
        "prediction_text": "x",
        "correct": correct,
        "calls": calls,
        "confidence": 0.5,
        "seconds": 0.25,
    } | fields


def predictions(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def asked(
    ids: Sequence[str], *, kinds: Sequence[str] = ("",), gold: Sequence[str] = ()
) -> dict[str, Question]:
    """Questions by id, their kinds in turn."""
    return {
        name: Question(
            question_id=name, split="test", question="?", options=("x", "y"), answer=0,
            kind=kinds[at % len(kinds)], gold_passages=tuple(gold),
        )
        for at, name in enumerate(ids)
    }  # fmt: skip
