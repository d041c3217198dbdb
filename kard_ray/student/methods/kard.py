"""KARD: question and silver passages to rationale and answer (KARD, equation 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.student.methods.base import Evidence, Example, PassagesFrom
from kard_ray.student.rendering import DEFAULT_CUE


@dataclass(frozen=True, kw_only=True, slots=True)
class Kard:
    """-log p(r, y | x, D̂) with D̂ = topk(p(d | r; D), k): the passages that the rationale itself retrieves."""

    name: str = "kard"
    uses_rationales: bool = True
    passages_from: PassagesFrom = "rationale"
    multi_task: bool = False
    answer_cue: str = DEFAULT_CUE

    def examples(
        self,
        question: Question,
        evidence: Sequence[Evidence],
        *,
        found: Sequence[tuple[str, str]],
        passages: int,
        form: AnswerForm,
        alpha: float,
    ) -> Iterator[Example]:
        """One row per rationale, each with its own silver passages."""
        for item in evidence:
            yield Example(question=question, passages=tuple(item.silver[:passages]), target=item.rationale)
