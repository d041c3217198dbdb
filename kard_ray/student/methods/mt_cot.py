"""MT-CoT: two tasks, question to rationale and answer, and question to answer (SKIntern, section 4.2 and A.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method

_EXPLANATION, _ANSWER = "[Explanation Generation]:", "[Answer Prediction]:"


@dataclass(frozen=True, kw_only=True, slots=True)
class MtCot(Method):
    """-(1 - alpha) log p(r, y | x) - alpha log p(y | x); it is asked for the answer alone."""

    name: str = "mt_cot"
    multi_task: bool = True
    cues: tuple[str, ...] = (_ANSWER,)

    def examples(self, given: Given) -> Iterator[Example]:
        """Two rows per rationale, one for each task."""
        asked, alpha = given.question, given.alpha
        for item in given.evidence:
            yield Example(
                question=asked, passages=(), target=item.rationale, cue=_EXPLANATION, weight=1.0 - alpha
            )
            yield Example(
                question=asked, passages=(), target=given.conclusion, cue=_ANSWER, weight=alpha, task="answer"
            )
