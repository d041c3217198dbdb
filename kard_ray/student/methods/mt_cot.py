"""MT-CoT: two tasks, question to rationale and answer, and question to answer (SKIntern, section 4.2 and A.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm, conclusion
from kard_ray.student.methods.base import Evidence, Example, PassagesFrom


@dataclass(frozen=True, kw_only=True, slots=True)
class MtCot:
    """-(1 - alpha) log p(r, y | x) - alpha log p(y | x); it is asked for the answer alone."""

    name: str = "mt_cot"
    uses_rationales: bool = True
    passages_from: PassagesFrom = "none"
    multi_task: bool = True
    answer_cue: str = "[Answer Prediction]:"

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
        """Two rows per rationale, one for each task."""
        answer = conclusion(question.options, question.answer, form, question.gold)
        for item in evidence:
            yield Example(
                question=question,
                passages=(),
                target=item.rationale,
                cue="[Explanation Generation]:",
                weight=1.0 - alpha,
            )
            yield Example(question=question, passages=(), target=answer, cue=self.answer_cue, weight=alpha)
