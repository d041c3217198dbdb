"""StrategyQA, yes or no by several facts that the question does not name (Geva et al., arXiv 2101.02235).

Read in KARD's form and in the original one (a JSON list: ``qid``, ``question``, ``answer`` true or false,
``evidence``), which the hub's has too. KARD's dev file equals its test file, so dev is always made from train.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from kard_ray.benchmarks.divided import Divided, DividedConfig
from kard_ray.benchmarks.files import MistakeError, shown, text_field
from kard_ray.benchmarks.kard_format import in_kard_format, kard_question
from kard_ray.benchmarks.question import Question

_NO_PASSAGE = ("operation", "no_evidence")  # what an annotator notes where a step has no paragraph


class StrategyQaConfig(DividedConfig):
    """A folder with train and test in either form, or a data set of the hub.

    The authors' test questions have no answers; with their train file alone, ``test_fraction`` makes a test split.
    """

    HUB: ClassVar[str] = "ChilleD/StrategyQA"

    kind: Literal["strategyqa"] = "strategyqa"
    gold_passages: bool = False  # evidence as gold passages, for a knowledge base made from its paragraphs


class StrategyQa(Divided):
    """Benchmark of questions with the options yes and no."""

    name = "strategyqa"
    DEV_FILE = False

    def __init__(self, config: StrategyQaConfig) -> None:
        super().__init__(config)
        self._gold = config.gold_passages

    def read(self, row: dict[str, Any]) -> Question:
        """The question of one row in either form."""
        if in_kard_format(row):
            return kard_question(row, self.name)
        answer = row.get("answer")
        if not isinstance(answer, bool):
            raise MistakeError(f"field answer: got {shown(answer)}; expected true or false.")
        gold = dict.fromkeys(f"evidence/{name}" for name in _paragraphs(row.get("evidence")))
        return Question(
            question_id=f"{self.name}-{text_field(row, 'qid')}",
            split="train",
            question=text_field(row, "question"),
            options=("yes", "no"),
            answer=0 if answer else 1,
            kind=self.name,
            gold_passages=tuple(gold) if self._gold else (),
        )


def _paragraphs(evidence: object) -> Iterator[str]:
    """The paragraphs that any annotator gave for any step: lists in lists, with notes between them."""
    if isinstance(evidence, list):
        for part in evidence:
            yield from _paragraphs(part)
    elif isinstance(evidence, str) and evidence not in _NO_PASSAGE:
        yield evidence
