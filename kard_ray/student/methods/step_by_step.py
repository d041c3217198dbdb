"""Step-by-step: two tasks, question to rationale, and question to answer (SKIntern, section 4.2 and A.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm, conclusion
from kard_ray.student.methods.base import Evidence, Example, PassagesFrom
from kard_ray.teacher.conclusions import reasoning


@dataclass(frozen=True, kw_only=True, slots=True)
class StepByStep:
    """-(1 - alpha) log p(r | x) - alpha log p(y | x); it is asked for the answer alone."""

    name: str = "step_by_step"
    uses_rationales: bool = True
    passages_from: PassagesFrom = "none"
    multi_task: bool = True
    answer_cue: str = "Answer:"

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
        """Two rows per rationale, one for each task; a rationale that only concludes has no row of its own."""
        answer = conclusion(question.options, question.answer, form, question.gold)
        for item in evidence:
            if steps := reasoning(item.rationale):
                yield Example(
                    question=question, passages=(), target=steps, cue="Rationale:", weight=1.0 - alpha
                )
            yield Example(question=question, passages=(), target=answer, cue=self.answer_cue, weight=alpha)
