"""KARD's passages internalised by SKIntern's decay: a student that reads only when it is unsure. In neither paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.curriculum.schedule import nearest_at
from kard_ray.student.methods.base import Curriculum, Example, Given, Method, PassagesFrom


@dataclass(frozen=True, kw_only=True, slots=True)
class KardIntern(Method):
    """-log p(r, y | x, D^t) with the first floor(k S_t) silver passages; S_T = 0, and rehearsal with all k in stage T.

    The rehearsal keeps the student able to read: at test it answers alone, and from passages those questions that it is
    unsure of.
    """

    name: str = "kard_intern"
    passages_from: PassagesFrom = "rationale"
    curriculum: Curriculum = "passages"
    alone_and_with_passages: bool = True

    def examples(self, given: Given) -> Iterator[Example]:
        """One row per rationale and stage; one more in the last stage for a rationale that has passages."""
        for item in given.evidence:
            passages = tuple(item.silver[: given.passages])
            stages = [
                (stage, nearest_at(passages, kept)) for stage, kept in enumerate(given.fractions, start=1)
            ]
            if passages:
                stages.append((len(given.fractions), passages))
            for stage, shown in stages:
                yield Example(question=given.question, passages=shown, target=item.rationale, stage=stage)
