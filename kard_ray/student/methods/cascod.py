"""CasCoD: two passes, question to rationale, then question and rationale to answer (SKIntern, section 4.2 and A.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method
from kard_ray.student.rendering import next_cue
from kard_ray.teacher.conclusions import reasoning

_CUES = ("Rationale:", "Answer:")


@dataclass(frozen=True, kw_only=True, slots=True)
class CasCod(Method):
    """-(1 - alpha) log p(r | x) - alpha log p(y | x, r); at test r is what it wrote in its first pass."""

    name: str = "cascod"
    multi_task: bool = True
    cues: tuple[str, ...] = _CUES

    def examples(self, given: Given) -> Iterator[Example]:
        """Two rows per rationale, one for each pass; a rationale that only concludes has no row of its own."""
        asked, alpha = given.question, given.alpha
        for item in given.evidence:
            steps = reasoning(item.rationale)
            if steps:
                yield Example(
                    question=asked, passages=(), target=steps, cue=next_cue(_CUES, ()), weight=1.0 - alpha
                )
            cue = next_cue(_CUES, [steps])
            yield Example(
                question=asked, passages=(), target=given.conclusion, cue=cue, weight=alpha, task="answer"
            )
