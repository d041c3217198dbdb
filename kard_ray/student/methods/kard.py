"""KARD: question and silver passages to rationale and answer (KARD, equation 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method, PassagesFrom


@dataclass(frozen=True, kw_only=True, slots=True)
class Kard(Method):
    """-log p(r, y | x, D̂) with D̂ = topk(p(d | r; D), k): the passages that the rationale itself retrieves."""

    name: str = "kard"
    passages_from: PassagesFrom = "rationale"

    def examples(self, given: Given) -> Iterator[Example]:
        """One row per rationale, each with its own silver passages."""
        for item in given.evidence:
            passages = tuple(item.silver[: given.passages])
            yield Example(question=given.question, passages=passages, target=item.rationale)
