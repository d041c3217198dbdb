"""What the stages of a run read: questions, the teacher's passages and replies, finished tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kard_ray.benchmarks.question import QUESTIONS, Question, Split, from_table
from kard_ray.benchmarks.selection import select
from kard_ray.lineage import Lineage
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.ledger import Ledger

if TYPE_CHECKING:
    from kard_ray.teacher.grounding import Passages


class Inputs(Lineage):
    """The artifacts of a recipe, and how later stages read them."""

    def questions(self) -> list[Question]:
        """All questions of the benchmark, of every split."""
        return self._questions

    @cached_property
    def _questions(self) -> list[Question]:
        self.benchmark_artifact.verify()
        return from_table(self.benchmark_artifact.read_table("questions.parquet").select(QUESTIONS.names))

    def selected(self, split: Split) -> list[Question]:
        """The questions of ``split`` that the run uses, in an order fixed by their ids; raises UserError if none."""
        if all(q.split != split for q in self._questions):
            raise UserError(
                f"benchmark {self.recipe.questions_from().kind}: the {split} split has no questions, "
                "and this stage needs it."
            )
        dropped = self._contaminated if split == "train" else frozenset()
        return select(
            [q for q in self._questions if q.question_id not in dropped], split, self.recipe.questions
        )

    @cached_property
    def _contaminated(self) -> frozenset[str]:
        """Training questions that are left out because they share words with a test question."""
        if not self.recipe.contamination.drop:
            return frozenset()
        self.contamination_artifact.verify()
        rows = self.contamination_artifact.read_table("contamination.parquet").to_pylist()
        return frozenset(row["id"] for row in rows if row["kind"] == "question")

    def _test_questions(self) -> list[Question]:
        return self.selected(self.recipe.prediction.split)

    def _rationales(self) -> pa.Table:
        self.rationales_artifact.verify()
        return self.rationales_artifact.read_table("rationales.parquet")

    def _silver(self) -> pa.Table:
        self.silver_artifact.verify()
        return self.silver_artifact.read_table("silver.parquet")

    def _question_passages(self) -> pa.Table:
        self.question_passages_artifact.verify()
        return self.question_passages_artifact.read_table("question_passages.parquet")

    def _silver_by_question(self) -> dict[str, list[dict[str, Any]]]:
        split = self.recipe.prediction.split
        return {r["question_id"]: r["passages"] for r in self._silver().to_pylist() if r["split"] == split}

    def teacher_questions(self) -> list[Question]:
        """The questions that get rationales."""
        return self.selected("train") + (self._test_questions() if self.predicts_silver else [])

    def teacher_passages(self, questions: Sequence[Question]) -> tuple[Passages, Passages]:
        """The passages that the teacher is shown, and those that its rationales are compared with."""
        from kard_ray.teacher.grounding import found_passages, gold_passages, require_gold

        folder, version = self.knowledge_folder, self.knowledge_version
        gold = gold_passages(questions, folder, version=version)
        mode = self.recipe.teacher.grounding
        if mode == "none":
            return {}, gold
        if mode == "gold":
            return require_gold(gold), gold
        found = found_passages(
            questions, folder, version=version, mode=mode, k=self.recipe.teacher.grounding_passages,
            config=self.recipe.retrieval,
        )  # fmt: skip
        return found, {name: [*gold[name], *found.get(name, ())] for name in gold}

    @property
    def ledger(self) -> Ledger:
        """What teachers wrote in this run directory, whichever recipe asked for it."""
        return Ledger(self.run.url("ledger"))
