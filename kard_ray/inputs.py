"""What the stages of a run read: questions, the teacher's passages and replies, finished tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kard_ray.benchmarks.question import QUESTIONS, Question, Split, from_table
from kard_ray.benchmarks.registry import load_benchmark
from kard_ray.benchmarks.selection import select
from kard_ray.evaluation.sources import uses_reranker
from kard_ray.lineage import Lineage
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.ledger import Ledger
from kard_ray.student.methods.registry import METHODS, MethodName

if TYPE_CHECKING:
    from kard_ray.evaluation.predict import Prediction
    from kard_ray.reranker.trained import TrainedReranker
    from kard_ray.runtime.artifacts import Artifact
    from kard_ray.student.help import Shot
    from kard_ray.student.table import TrainingInputs
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

    def training_inputs(self, method: MethodName) -> TrainingInputs:
        """What the training rows of ``method`` are made from."""
        from kard_ray.student.curriculum.schedule import fractions
        from kard_ray.student.table import TrainingInputs

        made, curriculum = METHODS[method], self.recipe.curriculum
        symbolic = made.curriculum == "symbolic"
        return TrainingInputs(
            questions=self.selected("train"),
            rationales=self._rationales(),
            silver=self._silver() if self.learns_from_silver(method) else None,
            found=self._question_passages() if self.learns_from_found(method) else None,
            compressed=self._compressed() if symbolic else None,
            shots=self._nearest_questions() if symbolic and curriculum.examples else None,
            fractions=fractions(curriculum.schedule) if made.curriculum != "none" else (),
        )

    def shots(self, method: MethodName, questions: Sequence[Question]) -> dict[str, tuple[Shot, ...]]:
        """The benchmark's worked examples in the prompts of ``questions``, by pattern; empty for methods without.

        A question without a pattern has those of its kind, as the teacher has.
        """
        from kard_ray.student.methods.prompted import worked_shots

        if not METHODS[method].shots:
            return {}
        examples = load_benchmark(self.recipe.questions_from()).examples
        return {
            pattern: worked_shots(METHODS[method], examples(pattern), self.recipe.answer_form)
            for pattern in sorted({q.pattern or q.kind for q in questions})
        }

    def _compressed(self) -> pa.Table:
        self.compression_artifact.verify()
        return self.compression_artifact.read_table("compressed.parquet")

    def _nearest_questions(self) -> pa.Table:
        self.examples_artifact.verify()
        return self.examples_artifact.read_table("examples.parquet")

    def _silver_by_question(self) -> dict[str, list[dict[str, Any]]]:
        split = self.recipe.prediction.split
        return {r["question_id"]: r["passages"] for r in self._silver().to_pylist() if r["split"] == split}

    def test_prediction(self, method: MethodName) -> Prediction:
        """The answers of ``method`` to the test questions; its student has to be there."""
        return self.prediction(method, self._test_questions(), self.prediction_artifact(method), new=False)

    def prediction(
        self, method: MethodName, questions: Sequence[Question], artifact: Artifact, *, new: bool,
        version: str | None = None,
    ) -> Prediction:  # fmt: skip
        """The answers of ``method`` to ``questions``; to ``new`` ones only from what can be had for them.

        ``version`` is a tag or number of another version of the knowledge base than the run's. Raises UserError when
        its student is not there, or the model of a method without one cannot be had.
        """
        from kard_ray.evaluation.predict import LoraStudent, Prediction
        from kard_ray.evaluation.searching import KnowledgeSource
        from kard_ray.runtime.models import resolve_model
        from kard_ray.student.config import ADAPTER_FOLDER, CUES, MODEL_FOLDER
        from kard_ray.student.methods.prompted import STEPS
        from kard_ray.student.mixing import ANSWER_CUE

        recipe, asked = self.recipe, METHODS[method]
        sources = self.sources(method, new=new)
        lora = None
        if asked.trained:
            student = self.student_artifact(method)
            cues = tuple(student.verify().counts[CUES])
            path = student.at(MODEL_FOLDER)
            # An adapter of 4-bit weights belongs to those: on the base model's own it would be another student.
            if recipe.student.quantization == "none" and self.run.fs.exists(student.at(ADAPTER_FOLDER)):
                base = resolve_model(recipe.student.model).path
                lora = LoraStudent(base=base, folder=student.at(ADAPTER_FOLDER))
        else:
            cues, path = asked.cues, resolve_model(recipe.student.model).path
        reads = asked.passages_from != "none"
        return Prediction(
            artifact=artifact,
            questions=questions,
            sources=sources,
            student_path=path,
            config=recipe.prediction,
            form=recipe.answer_form,
            rendering=recipe.student.rendering,
            seed=recipe.student.seed,
            silver=self._silver_by_question() if "silver" in sources else {},
            knowledge=KnowledgeSource(
                self.knowledge_folder,
                version or self.knowledge_version,
                recipe.retrieval,
                self.trained_reranker(version) if uses_reranker(sources) else None,
            )
            if reads
            else None,
            passages=recipe.student.passages,
            cues=cues,
            reasons=asked.reasons and not asked.multi_task if asked.trained else cues == (STEPS,),
            answer_cue=ANSWER_CUE if recipe.student.answer_weight and asked.trained else cues[-1],
            shots=self.shots(method, questions),
            stop=asked.stop,
            ask_below=recipe.prediction.ask_below if new and asked.alone_and_with_passages else None,
            lora=lora,
        )

    def trained_reranker(self, version: str | None = None) -> TrainedReranker:
        """The recipe's reranker, and its token vectors unless the recipe or another ``version`` does without.

        Raises UserError when it is not trained, or its vectors are not there.
        """
        from kard_ray.reranker.config import RERANKER_FOLDER
        from kard_ray.reranker.trained import TrainedReranker

        self.reranker_artifact.verify()
        vectors = None
        if self.precomputes_vectors and version is None:
            self.token_vectors_artifact.verify()
            vectors = self.token_vectors_artifact.path
        return TrainedReranker(
            folder=self.reranker_artifact.at(RERANKER_FOLDER),
            token_vectors=vectors,
            config=self.reranker_config,
        )

    def teacher_questions(self) -> list[Question]:
        """The questions that get rationales."""
        return self.selected("train") + (self._test_questions() if self.explains_tests else [])

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
