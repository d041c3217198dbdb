"""What each artifact of a run is made from: its key, and so whether it is finished, follows from the recipe alone."""

from __future__ import annotations

import posixpath
from functools import cached_property
from typing import Any

from kard_ray.benchmarks.registry import load_benchmark
from kard_ray.evaluation.predict import PassageSource
from kard_ray.recipe import Recipe
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.methods.registry import METHODS, MethodName

_BENCHMARK_VERSION = 3


BASE_ARTIFACT = "knowledge_base_artifact"  # count of a manifest: the artifact beside it that holds the table


def folder_of(path: str, manifest: Manifest) -> str:
    """The folder with the table of the knowledge artifact at ``path``: its own, or the one it was updated in."""
    name = manifest.counts.get(BASE_ARTIFACT)
    return posixpath.join(posixpath.dirname(path), str(name)) if name else path


class Lineage:
    """The artifacts of a recipe in a run directory; nothing is made or read here but manifests."""

    def __init__(self, recipe: Recipe, run: RunDirectory) -> None:
        self.recipe, self.run = recipe, run

    @cached_property
    def benchmark_artifact(self) -> Artifact:
        """All questions, schema QUESTIONS."""
        benchmark = self.recipe.questions_from()
        config = benchmark.content() | {"data": load_benchmark(benchmark).fingerprint()}
        return self._artifact("benchmark", _BENCHMARK_VERSION, config, {})

    @cached_property
    def knowledge_artifact(self) -> Artifact:
        """The knowledge base."""
        from kard_ray.knowledge.build import VERSION

        return self._artifact("knowledge", VERSION, self._knowledge_config(), {})

    def _knowledge_config(self) -> dict[str, Any]:
        """What decides the knowledge base's content."""
        knowledge = self.recipe.knowledge
        config = knowledge.content()
        # The corpus counts by its content and how it is read, so a renamed or moved file makes no new knowledge base.
        reading = {
            name: value for name, value in knowledge.corpus.content().items() if name not in ("path", "paths")
        }
        config["corpus"] = reading | {"data": knowledge.corpus.fingerprint()}
        return config

    @cached_property
    def contamination_artifact(self) -> Artifact:
        """Which test questions stand in passages or training questions."""
        from kard_ray.knowledge.decontamination import VERSION

        config = self.recipe.contamination.content() | self._version_config()
        config["split"] = self.recipe.prediction.split
        return self._artifact(
            "contamination", VERSION, config, self._keys(self.benchmark_artifact, self.knowledge_artifact)
        )

    def _version_config(self) -> dict[str, Any]:
        """The version of the knowledge base, when the recipe names one."""
        version = self.recipe.retrieval.version
        return {} if version is None else {"knowledge_base_version": version}

    def _knowledge_keys(self) -> dict[str, str]:
        """The knowledge base that is read, as an input of later artifacts."""
        read = [self.knowledge_artifact]
        if self.recipe.contamination.drop:
            read.append(self.contamination_artifact)
        return self._keys(*read)

    @property
    def knowledge_folder(self) -> str:
        """The folder of the knowledge base: an update may have brought an older one to this recipe's corpus."""
        return folder_of(self.knowledge_artifact.path, self.knowledge_artifact.verify())

    @property
    def knowledge_version(self) -> int:
        """The LanceDB version that stages after the knowledge base read."""
        if self.recipe.contamination.drop:
            return int(self.contamination_artifact.verify().counts["knowledge_base_version"])
        return self.named_version()

    def named_version(self) -> int:
        """The version that the recipe names, else the one that its build made."""
        from kard_ray.knowledge.versions import find_version

        made = self.knowledge_artifact.verify().counts["knowledge_base_version"]
        return find_version(self.knowledge_folder, self.recipe.retrieval.version or made).number

    @cached_property
    def rationales_artifact(self) -> Artifact:
        """Teacher rationales, schema RATIONALES."""
        from kard_ray.teacher.rationales import VERSION

        r = self.recipe
        config = (
            r.teacher.content()
            | {
                "answer_form": r.answer_form,
                "questions": r.questions.content(),
                "test_split": r.prediction.split if self.predicts_silver else None,
            }
            | self._version_config()
        )
        inputs = self._keys(self.benchmark_artifact) | self._knowledge_keys()
        return self._artifact("rationales", VERSION, config, inputs)

    @cached_property
    def symbolic_artifact(self) -> Artifact:
        """Symbolic knowledge, schema SYMBOLIC; raises UserError when the recipe has none."""
        from kard_ray.teacher.symbolic import VERSION

        r = self.recipe
        if r.symbolic is None:
            raise UserError(
                f"recipe {r.name}, field symbolic: it is missing, and this stage needs it; 'symbolic: {{}}' takes the "
                "defaults."
            )
        teacher = r.teacher.writer() | {"answer_form": r.answer_form, "test_split": r.prediction.split}
        return self._artifact(
            "symbolic",
            VERSION,
            r.symbolic.content() | {"teacher": teacher},
            self._keys(self.rationales_artifact),
        )

    @cached_property
    def compression_artifact(self) -> Artifact:
        """Symbolic knowledge at every stage of the curriculum, schema COMPRESSED."""
        from kard_ray.student.compression.registry import chosen
        from kard_ray.student.curriculum.artifacts import COMPRESSION_VERSION

        curriculum = self.recipe.curriculum
        config = {
            "schedule": curriculum.schedule.content(),
            "compression": chosen(curriculum.compression).content(),
        }
        return self._artifact("compression", COMPRESSION_VERSION, config, self._keys(self.symbolic_artifact))

    @cached_property
    def examples_artifact(self) -> Artifact:
        """The nearest training questions of each training question, schema SHOTS."""
        from kard_ray.student.curriculum.artifacts import EXAMPLES_VERSION

        r = self.recipe
        config = {
            "examples": r.curriculum.examples,
            "same_kind": r.curriculum.same_kind,
            "embedder": r.knowledge.embedder,
            "prefix": r.knowledge.query_prefix,
            "questions": r.questions.content(),
        }
        dropped = self._keys(self.contamination_artifact) if r.contamination.drop else {}
        return self._artifact(
            "examples", EXAMPLES_VERSION, config, self._keys(self.benchmark_artifact) | dropped
        )

    @cached_property
    def silver_artifact(self) -> Artifact:
        """Silver passages, schema SILVER."""
        from kard_ray.teacher.silver import VERSION

        inputs = self._keys(self.rationales_artifact) | self._knowledge_keys()
        config = self.recipe.silver.content() | {"retrieval": self.recipe.retrieval.content()}
        return self._artifact("silver", VERSION, config, inputs)

    @cached_property
    def question_passages_artifact(self) -> Artifact:
        """What training questions find, schema QUESTION_PASSAGES."""
        from kard_ray.student.question_passages import VERSION

        r = self.recipe
        config = {
            "passages": r.student.passages,
            "query": r.prediction.query,
            "questions": r.questions.content(),
            "retrieval": r.retrieval.content(),
        }
        inputs = self._keys(self.benchmark_artifact) | self._knowledge_keys()
        return self._artifact("question_passages", VERSION, config, inputs)

    def student_artifact(self, method: MethodName) -> Artifact:
        """The student of ``method``."""
        from kard_ray.student.train import VERSION

        config = self.recipe.student.content() | {"answer_form": self.recipe.answer_form}
        inputs = self._keys(self.benchmark_artifact, self.rationales_artifact)
        reads = METHODS[method].passages_from
        if reads == "rationale":
            inputs |= self._keys(self.silver_artifact)
        elif reads == "question":
            inputs |= self._keys(self.question_passages_artifact)
        else:
            del config["passages"]
        if not METHODS[method].multi_task:
            del config["alpha"]
        return self._artifact(f"train/{method}", VERSION, config, inputs)

    def prediction_artifact(self, method: MethodName) -> Artifact:
        """Answers of the student of ``method``, schema PREDICTIONS."""
        from kard_ray.evaluation.predict import VERSION

        config = self.recipe.prediction.content() | {"questions": self.recipe.questions.content()}
        inputs = self._keys(self.student_artifact(method))
        reads = METHODS[method].passages_from
        if reads == "rationale":
            inputs |= self._keys(self.silver_artifact)
        elif reads == "question":
            config["sources"] = self.sources(method)
        if reads != "none":
            inputs |= self._knowledge_keys()
            config["retrieval"] = self.recipe.retrieval.content()
        return self._artifact(f"predict/{method}", VERSION, config, inputs)

    @cached_property
    def report_artifact(self) -> Artifact:
        """The result table."""
        from kard_ray.evaluation.report import VERSION

        predictions = [self.prediction_artifact(method) for method in self.recipe.student.methods]
        return self._artifact(
            "report", VERSION, {"benchmark": self.recipe.questions_from().kind}, self._keys(*predictions)
        )

    def _artifact(self, stage: str, version: int, config: dict[str, Any], inputs: dict[str, str]) -> Artifact:
        return self.run.artifact(ArtifactSpec(stage=stage, version=version, config=config, inputs=inputs))

    @staticmethod
    def _keys(*artifacts: Artifact) -> dict[str, str]:
        return {artifact.spec.stage: artifact.spec.key for artifact in artifacts}

    @property
    def predicts_silver(self) -> bool:
        """Whether test questions get rationales too; another choice of methods must not change the teacher's key."""
        return "silver" in self.recipe.prediction.sources and self.recipe.teacher.test_samples > 0

    def sources(self, method: MethodName, *, new: bool = False) -> list[PassageSource]:
        """Where the passages come from that the student of ``method`` reads at test, one prediction for each.

        A question that is ``new`` has no rationale, and is answered once. BM25 where the recipe names no search.
        """
        reads = METHODS[method].passages_from
        if reads == "none":
            return ["none"]
        if reads == "rationale" and self.predicts_silver and not new:
            return [*self.recipe.prediction.sources]
        searched: list[PassageSource] = [s for s in self.recipe.prediction.sources if s != "silver"]
        return searched[: 1 if new else None] or ["bm25"]
