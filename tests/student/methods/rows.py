"""One question with all that a method may make rows from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kard_ray.benchmarks.question import Question
from kard_ray.student.methods.base import Evidence, Example, Given, Help, Shot
from kard_ray.student.methods.registry import METHODS, MethodName

QUESTION = Question(question_id="q", split="train", question="Which?", options=("Lisbon", "Porto"), answer=1)
FRACTIONS = (1.0, 2 / 3, 1 / 3, 0.0)
HELP = [
    Help(summary="All of it.", supplement="Facts and facts."),
    Help(summary="All.", supplement="Facts."),
    Help(supplement="Facts."),
    Help(),
]
EVIDENCE = [
    Evidence(
        rationale="One. So the answer is Porto.", silver=[("A", "a"), ("B", "b"), ("C", "c")], help=HELP
    ),
    Evidence(rationale="Two. So the answer is Porto.", silver=[("D", "d")]),
]
FOUND = [("E", "e"), ("F", "f"), ("G", "g")]
SHOTS = [Shot(question=f"Shot {n}?", options=(), written=f"Explanation: {n}.") for n in range(6)]


def rows_of(
    name: MethodName,
    question: Question = QUESTION,
    *,
    evidence: Sequence[Evidence] = EVIDENCE,
    shots: Sequence[Shot] = SHOTS,
    fractions: tuple[float, ...] = FRACTIONS,
    passages: int = 3,
    form: Any = "text",
    alpha: float = 0.3,
) -> list[Example]:
    given = Given(
        question=question,
        evidence=evidence,
        found=FOUND,
        shots=shots,
        fractions=fractions,
        passages=passages,
        form=form,
        alpha=alpha,
    )
    return list(METHODS[name].examples(given))
