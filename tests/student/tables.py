"""Small tables of the stages before a student's training."""

from __future__ import annotations

import pyarrow as pa

from kard_ray.benchmarks.question import Question
from kard_ray.student.compression.compress import COMPRESSED
from kard_ray.teacher.rationales import RATIONALES
from kard_ray.teacher.silver import SILVER

QUESTIONS = [
    Question(question_id=f"q{n}", split="train", question=f"Which {n}?", options=("yes", "no"), answer=n % 2)
    for n in range(6)
]


def rationales(kept: dict[str, list[bool]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "rationale_id": f"{question}#{n}",
                "question_id": question,
                "split": "train",
                "sample": n,
                "rationale": f"because {question} {n}",
                "kept": keep,
                "dropped_by": "" if keep else "concludes",
                "dropped_because": "",
                "prompt_tokens": 1,
                "generated_tokens": 1,
            }
            for question, flags in kept.items()
            for n, keep in enumerate(flags)
        ],
        schema=RATIONALES,
    )


def silver(ids: list[str]) -> pa.Table:
    rows = [
        {
            "rationale_id": i,
            "question_id": i.partition("#")[0],
            "split": "train",
            "passages": [
                {"passage_id": f"p{r}", "title": i, "text": f"text {r}", "score": 1.0} for r in range(4)
            ],
        }
        for i in ids
    ]
    return pa.Table.from_pylist(rows, schema=SILVER)


def compressed(ids: list[str], stages: int = 3) -> pa.Table:
    rows = [
        {
            "rationale_id": i,
            "question_id": i.partition("#")[0],
            "split": "train",
            "stage": stage,
            "asked_fraction": 0.5,
            "achieved_fraction": 0.5,
            "summary": f"{i} at {stage}" if stage < stages else "",
            "supplement": "",
            "tokens_before": 4,
            "tokens_after": 2,
        }
        for i in ids
        for stage in reversed(range(1, stages + 1))
    ]
    return pa.Table.from_pylist(rows, schema=COMPRESSED)
