"""OpenBookQA, elementary science with an open book of facts (Mihaylov et al., arXiv 1809.02789).

Read in KARD's form and in AI2's, which has the fact of the open book that a question was made from in ``fact1`` of its
complete files and of the hub's configuration ``additional``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, ClassVar, Literal

from kard_ray.benchmarks.ai2_format import ai2_question
from kard_ray.benchmarks.divided import Divided, DividedConfig
from kard_ray.benchmarks.files import text_field
from kard_ray.benchmarks.kard_format import in_kard_format, kard_question
from kard_ray.benchmarks.question import Question


class OpenBookQaConfig(DividedConfig):
    """A folder with train, dev and test in any of the three forms, or a data set of the hub."""

    HUB: ClassVar[str] = "allenai/openbookqa"
    # The first of the hub's two configurations has the facts.
    FOLDERS: ClassVar[tuple[str, ...]] = ("additional", "main")

    kind: Literal["openbookqa"] = "openbookqa"
    gold_passages: bool = False  # fact1 as gold passage, for a knowledge base made from the open book


class OpenBookQa(Divided):
    """Benchmark of questions with four options."""

    name = "openbookqa"

    def __init__(self, config: OpenBookQaConfig) -> None:
        super().__init__(config)
        self._gold = config.gold_passages

    def read(self, row: dict[str, Any]) -> Question:
        """The question of one row in any of the three forms."""
        if in_kard_format(row):
            return kard_question(row, self.name)
        question = ai2_question(row, self.name)
        if not self._gold or "fact1" not in row:
            return question
        return replace(question, gold_passages=(f"core/{fact_key(text_field(row, 'fact1'))}",))


def fact_key(fact: str) -> str:
    """What a fact of the open book is known by, whatever its case and spacing: 16 digits of SHA-256."""
    return hashlib.sha256(" ".join(fact.lower().split()).encode()).hexdigest()[:16]
