"""The control of KARD: silver passages as in KARD, answers alone as in knowledge-augmented fine-tuning.

Neither paper has it. Between ``knowledge_finetune`` and ``kard`` two things change, what is read in training and what
is written; this changes the first alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method, PassagesFrom


@dataclass(frozen=True, kw_only=True, slots=True)
class SilverFinetune(Method):
    """-log p(y | x, D̂) with D̂ = topk(p(d | r; D), k): the passages that a rationale retrieves, which is not written."""

    name: str = "silver_finetune"
    reasons: bool = False
    passages_from: PassagesFrom = "rationale"

    def examples(self, given: Given) -> Iterator[Example]:
        """One row per rationale, with its silver passages."""
        for item in given.evidence:
            passages = tuple(item.silver[: given.passages])
            yield Example(question=given.question, passages=passages, target=given.conclusion)
