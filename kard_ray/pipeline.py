"""The stages in order: what each is made from, whether it is finished, and how it is made.

A stage reads artifacts by name and writes one artifact (train and predict write one per method). This is the only
place that knows the whole way; no stage calls another.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kard_ray.benchmarks.question import to_table
from kard_ray.benchmarks.registry import load_benchmark
from kard_ray.inputs import Inputs
from kard_ray.recipe import Recipe, parse_recipe
from kard_ray.runtime.artifacts import PARTS, Artifact, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.methods.registry import METHODS, MethodName

if TYPE_CHECKING:
    from kard_ray.evaluation.model_shape import ModelShape
    from kard_ray.evaluation.search_cost import SearchCost
    from kard_ray.evaluation.sources import PassageSource

STAGES = (
    "benchmark", "knowledge", "contamination", "rationales", "symbolic", "compression", "examples", "silver",
    "candidates", "reranker", "token_vectors", "question_passages", "train", "predict", "report",
)  # fmt: skip
_CURRICULUM = ("symbolic", "compression", "examples")  # only where there is symbolic knowledge
_RERANKER = ("candidates", "reranker")  # only where passages are reranked
_RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One artifact of the run and how to make it."""

    stage: str
    label: str
    artifact: Artifact
    make: Callable[[Artifact], Manifest]
    needs_ray: bool

    @property
    def finished(self) -> bool:
        """Whether the artifact is there and whole; raises UserError when it is truncated or unreadable."""
        if not self.artifact.finished:
            return False
        self.artifact.verify()
        return True


class Pipeline(Inputs):
    """A recipe bound to a run directory."""

    # Callbacks of Ray Train that are told what the workers of a training report; none: its progress is shown.
    listeners: Sequence[Any] = ()

    # -- the run directory -------------------------------------------------------------------------------------------

    def claim(self) -> None:
        """Write the recipe into the run directory.

        Raises UserError when another recipe made the directory or nothing can be written there.
        """
        path = f"{self.run.path}/{_RUN_FILE}"
        if self.run.fs.exists(path):
            other = _read_run_file(self.run)["name"]
            if other != self.recipe.name:
                raise UserError(
                    f"run directory {self.run.root} was made by recipe {other!r}, not {self.recipe.name!r}; "
                    "choose another directory with --run-dir."
                )
        try:
            self.run.write_atomically(
                path, json.dumps({"recipe": self.recipe.model_dump(mode="json")}, indent=2) + "\n"
            )
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise UserError(
                f"run directory {self.run.root} cannot be written ({error.strerror}); "
                "choose another directory with --run-dir."
            ) from error

    # -- the steps ---------------------------------------------------------------------------------------------------

    def labels(self, stages: Sequence[str] = STAGES) -> list[str]:
        """The names of the steps of ``stages``, in order; needs no data."""
        return [stage if method is None else f"{stage}/{method}" for stage, method in self._order(stages)]

    def steps(self, stages: Sequence[str] = STAGES) -> list[Step]:
        """The steps of ``stages``, in order."""
        return [self._step(stage, method) for stage, method in self._order(stages)]

    def _order(self, stages: Sequence[str]) -> list[tuple[str, MethodName | None]]:
        """Those of ``stages`` that the recipe has, or that were asked for by name: they then tell what is missing."""
        all_ = len(stages) > 1
        wanted = [s for s in STAGES if s in stages and not (all_ and self._is_idle(s))]
        return [
            (stage, method)
            for stage in wanted
            for method in (self._methods(stage) if stage in ("train", "predict") else (None,))
        ]

    def _methods(self, stage: str) -> list[MethodName]:
        """The methods that have a step of ``stage``: a prompted one is not trained."""
        return [m for m in self.recipe.student.methods if METHODS[m].trained or stage != "train"]

    def _sharing(self, method: MethodName) -> list[MethodName]:
        """The methods whose students can answer now by the engine of that of ``method``: prompted ones, or adapters."""
        trained = METHODS[method].trained
        if trained and not self.recipe.student.lora_rank:
            return []
        alike = [m for m in self._methods("predict") if METHODS[m].trained == trained]
        return [m for m in alike if not trained or self.student_artifact(m).finished]

    def _is_idle(self, stage: str) -> bool:
        """Whether nothing in the recipe asks for ``stage``."""
        trained = self._methods("train")
        if stage == "question_passages":
            return not any(self.learns_from_found(method) for method in trained)
        if stage in _RERANKER:
            return not self.uses_reranker
        if stage == "token_vectors":
            return not (self.uses_reranker and self.precomputes_vectors)
        if stage in ("rationales", "silver"):
            return not trained and self.symbolic_config is None and not self.uses_reranker
        if stage == "examples" and self.recipe.curriculum.examples == 0:
            return True
        return stage in _CURRICULUM and self.symbolic_config is None

    def _step(self, stage: str, method: MethodName | None) -> Step:
        """One step; its artifact's key is found here, so a recipe without questions still has a knowledge step."""
        if method is not None:
            train = stage == "train"
            artifact = self.student_artifact(method) if train else self.prediction_artifact(method)
            make = self._make_student(method) if train else self._make_predictions(method)
        else:
            artifact = getattr(self, f"{stage}_artifact")
            make = getattr(self, f"_make_{stage}")

        def make_and_name_versions(artifact: Artifact) -> Manifest:
            if stage not in ("benchmark", "knowledge", "contamination"):
                artifact.reads = self.reads()
            return make(artifact)

        return Step(
            stage=stage,
            label=artifact.spec.stage,
            artifact=artifact,
            make=make_and_name_versions,
            needs_ray=stage not in ("benchmark", "report"),
        )

    def reads(self, version: str | None = None) -> dict[str, Any]:
        """The version of the knowledge base behind an artifact, for its manifest; ``version`` is another one's tag."""
        from kard_ray.knowledge.build import version_counts
        from kard_ray.knowledge.versions import find_version

        return version_counts(find_version(self.knowledge_folder, version or self.knowledge_version))

    def state(self, step: Step) -> str:
        """One phrase: finished, unfinished, or why it has to be made."""
        if step.finished:
            return "finished"
        if self.run.fs.exists(step.artifact.at(PARTS)):
            return "unfinished: finished rows or checkpoints are kept"
        return self.run.why_stale(step.artifact.spec)

    # -- making ------------------------------------------------------------------------------------------------------

    def _make_benchmark(self, artifact: Artifact) -> Manifest:
        rows = list(load_benchmark(self.recipe.questions_from()).questions())
        if not rows:
            raise UserError(
                f"benchmark {self.recipe.questions_from().kind}: it has no questions; "
                "look at the recipe group benchmark."
            )
        artifact.write_table("questions.parquet", to_table(rows))
        splits = {split: sum(q.split == split for q in rows) for split in ("train", "dev", "test")}
        return artifact.seal(rows={"questions": len(rows)}, counts=splits)

    def _make_knowledge(self, artifact: Artifact) -> Manifest:
        from kard_ray.knowledge.build import build_knowledge_base

        return build_knowledge_base(self.recipe.knowledge, artifact)

    def _make_contamination(self, artifact: Artifact) -> Manifest:
        from kard_ray.knowledge.decontamination import write_contamination

        return write_contamination(
            [q for q in self._questions if q.split == self.recipe.prediction.split],
            [q for q in self._questions if q.split == "train"],
            self.recipe.contamination,
            folder=self.knowledge_folder,
            version=self.named_version(),
            knowledge=self.recipe.knowledge,
            artifact=artifact,
        )

    def _make_rationales(self, artifact: Artifact) -> Manifest:
        from kard_ray.teacher.rationales import write_rationales

        questions = self.teacher_questions()
        shown, supporting = self.teacher_passages(questions)
        return write_rationales(
            questions,
            load_benchmark(self.recipe.questions_from()).examples,
            shown,
            supporting,
            self.recipe.teacher,
            self.recipe.answer_form,
            artifact,
            self.ledger,
            test_split=self.recipe.prediction.split,
        )

    def _make_symbolic(self, artifact: Artifact) -> Manifest:
        from kard_ray.teacher.symbolic import chosen, write_symbolic_knowledge

        recipe, symbolic = self.recipe, self.symbolic_config
        assert symbolic is not None  # without it there is no such artifact
        return write_symbolic_knowledge(
            chosen(self._rationales(), symbolic.rationales, recipe.prediction.split),
            {q.question_id: q for q in self._questions},
            symbolic,
            recipe.teacher,
            recipe.answer_form,
            artifact,
            self.ledger,
            benchmark=recipe.questions_from().kind,
        )

    def _make_compression(self, artifact: Artifact) -> Manifest:
        from kard_ray.student.curriculum.artifacts import write_compressed

        self.symbolic_artifact.verify()
        return write_compressed(
            self.symbolic_artifact.read_table("symbolic.parquet"), self.recipe.curriculum, artifact
        )

    def _make_examples(self, artifact: Artifact) -> Manifest:
        from kard_ray.student.curriculum.artifacts import write_examples

        knowledge = self.recipe.knowledge
        assert knowledge.embedder is not None  # without it there is no such artifact
        return write_examples(
            to_table(self.selected("train")), knowledge.embedder, knowledge.query_prefix, self.recipe.curriculum,
            artifact,
        )  # fmt: skip

    def _make_silver(self, artifact: Artifact) -> Manifest:
        from kard_ray.teacher.silver import find_silver_passages

        texts = {q.question_id: q.question for q in self._questions}
        return find_silver_passages(
            self._rationales(),
            texts,
            self.knowledge_folder,
            self.recipe.silver,
            artifact,
            test_split=self.recipe.prediction.split,
            retrieval=self.recipe.retrieval,
            version=self.knowledge_version,
        )

    def _make_candidates(self, artifact: Artifact) -> Manifest:
        from kard_ray.reranker.candidates import asked, find_candidates
        from kard_ray.student.question_passages import search_query

        recipe, reranker = self.recipe, self.reranker_config
        test_split, with_options = recipe.prediction.split, recipe.prediction.query == "question_and_options"
        others = [q for q in self._questions if q.split not in ("train", test_split)]
        questions = [*self.selected("train"), *others]
        rows = asked(
            self._rationales(),
            {q.question_id: search_query(q, with_options=with_options) for q in questions},
            {q.question_id: q.question for q in questions},
            reranker,
            recipe.silver,
            test_split=test_split,
        )
        return find_candidates(
            rows,
            self.knowledge_folder,
            reranker,
            recipe.silver,
            artifact,
            retrieval=recipe.retrieval,
            version=self.knowledge_version,
        )

    def _make_reranker(self, artifact: Artifact) -> Manifest:
        from kard_ray.reranker.train import train_reranker

        return train_reranker(self.reranker_config, self.candidates_artifact, artifact, self.listeners)

    def _make_token_vectors(self, artifact: Artifact) -> Manifest:
        from kard_ray.reranker.config import RERANKER_FOLDER
        from kard_ray.reranker.token_vectors import write_token_vectors

        recipe, reranker = self.recipe, self.reranker_config
        assert reranker.vector_dtype is not None  # without it there is no such artifact
        self.reranker_artifact.verify()
        return write_token_vectors(
            artifact,
            folder=self.knowledge_folder,
            version=self.knowledge_version,
            reranker_folder=self.reranker_artifact.at(RERANKER_FOLDER),
            dtype=reranker.vector_dtype,
            precision=reranker.precision,
            workers=recipe.knowledge.workers,  # encoding passages is what they do for the knowledge base
            gpus_per_worker=recipe.knowledge.gpus_per_worker,
        )

    def _make_question_passages(self, artifact: Artifact) -> Manifest:
        from kard_ray.student.question_passages import find_question_passages

        recipe = self.recipe
        return find_question_passages(
            self.selected("train"),
            self.knowledge_folder,
            artifact,
            k=recipe.student.passages,
            with_options=recipe.prediction.query == "question_and_options",
            retrieval=recipe.retrieval,
            version=self.knowledge_version,
        )

    def _make_student(self, method: MethodName) -> Callable[[Artifact], Manifest]:
        def make(artifact: Artifact) -> Manifest:
            from kard_ray.student.train import train

            return train(
                method, self.training_inputs(method), self.recipe.student, self.recipe.answer_form, artifact,
                self.listeners,
            )  # fmt: skip

        return make

    def _make_predictions(self, method: MethodName) -> Callable[[Artifact], Manifest]:
        def make(artifact: Artifact) -> Manifest:
            from kard_ray.evaluation.predict import predict, predict_shared

            predict_shared([self.test_prediction(m) for m in self._sharing(method)])
            return predict(replace(self.test_prediction(method), artifact=artifact))

        return make

    def _make_report(self, artifact: Artifact) -> Manifest:
        from kard_ray.evaluation.report import write_report

        return write_report(self.results(), self.seconds(), artifact)

    def publish_report(self) -> None:
        """Copy the recipe's report to ``report/<file>``: names that do not change, for people and scripts."""
        for name in self.report_artifact.verify().files:
            self.run.fs.copy(self.report_artifact.at(name), f"{self.run.path}/report/{name}")

    def results(self) -> list[dict[str, Any]]:
        """The records of the report."""
        from kard_ray.evaluation.report import records

        predictions: dict[MethodName, pa.Table] = {}
        for method in self.recipe.student.methods:
            artifact = self.prediction_artifact(method)
            artifact.verify()
            predictions[method] = artifact.read_table("predictions.parquet")
        return records(
            predictions,
            {q.question_id: q for q in self._test_questions()},
            benchmark=load_benchmark(self.recipe.questions_from()).name,
            split=self.recipe.prediction.split,
            k=self.recipe.student.passages,
            shapes={method: self.shape(method) for method in predictions},
            costs={method: self.search_costs(method) for method in predictions},
        )

    def shape(self, method: MethodName) -> ModelShape | None:
        """What FLOPs of the student of ``method`` are counted from; None when they cannot be."""
        from kard_ray.evaluation.model_shape import shape_of_model

        return shape_of_model(self.recipe.student.model, self.layers(method))

    def layers(self, method: MethodName) -> int | None:
        """How many of its model's layers the student of ``method`` has; None: all."""
        return self.recipe.student.layers if METHODS[method].trained else None

    def search_costs(self, method: MethodName) -> dict[PassageSource, SearchCost]:
        """FLOPs per test question of finding passages, by source; a source whose cost is not known is left out."""
        from kard_ray.evaluation.predict import SEARCHES_FILE
        from kard_ray.evaluation.search_cost import search_costs

        artifact = self.prediction_artifact(method)
        written = SEARCHES_FILE in artifact.manifest().files
        sources = artifact.read_table("predictions.parquet", ["source"])["source"].to_pylist()
        return search_costs(artifact.read_table(SEARCHES_FILE) if written else None, Counter(sources))

    def seconds(self) -> dict[str, float]:
        """Wall seconds of every finished artifact before the report."""
        return {
            step.label: step.artifact.manifest().wall_seconds
            for step in self.steps()
            if step.stage != "report" and step.artifact.finished
        }


def read_run_recipe(run: RunDirectory) -> Recipe:
    """The recipe that made ``run``; raises UserError when it is no run directory."""
    return parse_recipe(_read_run_file(run), where=f"{run.path}/{_RUN_FILE}")


def _read_run_file(run: RunDirectory) -> dict[str, Any]:
    """The recipe as it was written, not validated: an older version of the package may have made it."""
    path = f"{run.path}/{_RUN_FILE}"
    try:
        with run.fs.open(path, "rb") as source:
            tree: dict[str, Any] = json.loads(source.read())["recipe"]
            return tree | {"name": str(tree["name"])}
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{run.root} is no run directory: it has no {_RUN_FILE}; make one with kard-ray run."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}); the run directory is damaged.") from error
