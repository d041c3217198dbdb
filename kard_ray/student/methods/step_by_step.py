"""Step-by-step: two tasks, question to rationale, and question to answer (SKIntern, section 4.2 and A.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method
from kard_ray.teacher.conclusions import reasoning

_RATIONALE, _ANSWER = "Rationale:", "Answer:"


@dataclass(frozen=True, kw_only=True, slots=True)
class StepByStep(Method):
    """-(1 - alpha) log p(r | x) - alpha log p(y | x); it is asked for the answer alone."""

    name: str = "step_by_step"
    multi_task: bool = True
    cues: tuple[str, ...] = (_ANSWER,)

    def examples(self, given: Given) -> Iterator[Example]:
        """Two rows per rationale, one for each task; a rationale that only concludes has no row of its own."""
        asked, alpha = given.question, given.alpha
        for item in given.evidence:
            if steps := reasoning(item.rationale):
                yield Example(question=asked, passages=(), target=steps, cue=_RATIONALE, weight=1.0 - alpha)
            yield Example(
                question=asked, passages=(), target=given.conclusion, cue=_ANSWER, weight=alpha, task="answer"
            )
