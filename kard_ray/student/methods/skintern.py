"""SKIntern: the student internalises the teacher's notes and examples, which fade from stage to stage (section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

from kard_ray.student.curriculum.schedule import nearest_at
from kard_ray.student.methods.base import Curriculum, Example, Given, Help, Method


@dataclass(frozen=True, kw_only=True, slots=True)
class SkIntern(Method):
    """-log p(r, y | k^t, e^t, x) at stage t of T: S_t of the symbolic knowledge's tokens, floor(K S_t) examples.

    S_T = 0, so the last stage trains on the prompts of reasoning distillation, and it is asked like that at test.
    """

    name: str = "skintern"
    curriculum: Curriculum = "symbolic"

    def examples(self, given: Given) -> Iterator[Example]:
        """One row per rationale and stage; a rationale without symbolic knowledge has the examples alone."""
        for item in given.evidence:
            helps = zip(given.fractions, item.help or repeat(Help()), strict=bool(item.help))
            for stage, (fraction, knowledge) in enumerate(helps, start=1):
                shown = fraction > 0 and (knowledge.summary or knowledge.supplement)
                yield Example(
                    question=given.question,
                    passages=(),
                    target=item.rationale,
                    stage=stage,
                    help=knowledge if shown else None,
                    shots=tuple(nearest_at(given.shots, fraction)),
                )
