"""Fine-tuning: question to answer, no rationale and no passages (the papers' FT baseline)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Finetune(Method):
    """-log p(y | x)."""

    name: str = "finetune"
    uses_rationales: bool = False
    reasons: bool = False

    def examples(self, given: Given) -> Iterator[Example]:
        """One row per question."""
        yield Example(question=given.question, passages=(), target=given.conclusion)
