"""Reasoning distillation (Std-CoT): question to rationale and answer (KARD section 3.1, RD; SKIntern 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method


@dataclass(frozen=True, kw_only=True, slots=True)
class StdCot(Method):
    """-log p(r, y | x), one row per kept rationale; rationales end in their conclusion already."""

    name: str = "std_cot"

    def examples(self, given: Given) -> Iterator[Example]:
        """One row per rationale."""
        for item in given.evidence:
            yield Example(question=given.question, passages=(), target=item.rationale)
