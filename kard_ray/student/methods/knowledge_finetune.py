"""Knowledge-augmented fine-tuning (KAFT): question and the passages it finds to answer (KARD; SKIntern, 4.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm, conclusion
from kard_ray.student.methods.base import Evidence, Example, PassagesFrom
from kard_ray.student.rendering import DEFAULT_CUE


@dataclass(frozen=True, kw_only=True, slots=True)
class KnowledgeFinetune:
    """-log p(y | x, topk(p(d | x; D), k)): the passages come from the question, in training as at test."""

    name: str = "knowledge_finetune"
    uses_rationales: bool = False
    passages_from: PassagesFrom = "question"
    multi_task: bool = False
    answer_cue: str = DEFAULT_CUE

    def examples(
        self,
        question: Question,
        evidence: Sequence[Evidence],
        *,
        found: Sequence[tuple[str, str]],
        passages: int,
        form: AnswerForm,
        alpha: float,
    ) -> Iterator[Example]:
        """One row per question."""
        target = conclusion(question.options, question.answer, form, question.gold)
        yield Example(question=question, passages=tuple(found[:passages]), target=target)
