"""Reasoning distillation (Std-CoT): question to rationale and answer (KARD section 3.1, RD; SKIntern 4.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.student.methods.base import Evidence, Example, PassagesFrom
from kard_ray.student.rendering import DEFAULT_CUE


@dataclass(frozen=True, kw_only=True, slots=True)
class StdCot:
    """-log p(r, y | x), one row per kept rationale; rationales end in their conclusion already."""

    name: str = "std_cot"
    uses_rationales: bool = True
    passages_from: PassagesFrom = "none"
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
        """One row per rationale."""
        for item in evidence:
            yield Example(question=question, passages=(), target=item.rationale)
