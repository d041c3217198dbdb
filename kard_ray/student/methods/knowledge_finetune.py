"""Knowledge-augmented fine-tuning (KAFT): question and the passages it finds to answer (KARD; SKIntern, 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kard_ray.student.methods.base import Example, Given, Method, PassagesFrom


@dataclass(frozen=True, kw_only=True, slots=True)
class KnowledgeFinetune(Method):
    """-log p(y | x, topk(p(d | x; D), k)): the passages come from the question, in training as at test."""

    name: str = "knowledge_finetune"
    uses_rationales: bool = False
    reasons: bool = False
    passages_from: PassagesFrom = "question"

    def examples(self, given: Given) -> Iterator[Example]:
        """One row per question."""
        passages = tuple(given.found[: given.passages])
        yield Example(question=given.question, passages=passages, target=given.conclusion)
