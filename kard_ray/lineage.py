"""What each artifact of a run is made from: its key, and so whether it is finished, follows from the recipe alone."""

from __future__ import annotations

import posixpath
from functools import cached_property
from typing import Any

from kard_ray.benchmarks.jsonl import JsonlConfig
from kard_ray.benchmarks.registry import load_benchmark
from kard_ray.evaluation.sources import PassageSource, source_name, uses_reranker
from kard_ray.recipe import Recipe
from kard_ray.reranker.config import RerankerConfig
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.teacher.symbolic import SymbolicConfig

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
                "test_split": r.prediction.split if self.explains_tests else None,
            }
            | self._version_config()
        )
        inputs = self._keys(self.benchmark_artifact) | self._knowledge_keys()
        return self._artifact("rationales", VERSION, config, inputs)

    @property
    def symbolic_config(self) -> SymbolicConfig | None:
        """The recipe's, else the defaults where a method learns from symbolic knowledge, else None."""
        learnt = any(METHODS[method].curriculum == "symbolic" for method in self.recipe.student.methods)
        return self.recipe.symbolic or (SymbolicConfig() if learnt else None)

    @cached_property
    def symbolic_artifact(self) -> Artifact:
        """Symbolic knowledge, schema SYMBOLIC; raises UserError when the recipe has none."""
        from kard_ray.teacher.symbolic import VERSION

        r, symbolic = self.recipe, self.symbolic_config
        if symbolic is None:
            raise UserError(
                f"recipe {r.name}, field symbolic: it is missing, and this stage needs it; 'symbolic: {{}}' takes the "
                "defaults."
            )
        teacher = r.teacher.writer() | {"answer_form": r.answer_form, "test_split": r.prediction.split}
        return self._artifact(
            "symbolic",
            VERSION,
            symbolic.content() | {"teacher": teacher},
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
        """The nearest training questions of each training question, schema SHOTS; raises UserError without embedder."""
        from kard_ray.student.curriculum.artifacts import EXAMPLES_VERSION

        r = self.recipe
        if r.knowledge.embedder is None:
            raise UserError(
                "recipe field knowledge.embedder: it is null, and examples are chosen by it; name a sentence encoder, "
                "or set curriculum.examples to 0."
            )
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

    @property
    def uses_reranker(self) -> bool:
        """Whether an answer is asked for with passages that a reranker chose."""
        return uses_reranker(self.recipe.prediction.sources)

    @property
    def reranker_config(self) -> RerankerConfig:
        """The recipe's; raises UserError when it has none."""
        if self.recipe.reranker is None:
            raise UserError(
                f"recipe {self.recipe.name}, field reranker: it is missing, and prediction.sources or this stage needs "
                "it; 'reranker: {}' takes the defaults."
            )
        return self.recipe.reranker

    @cached_property
    def candidates_artifact(self) -> Artifact:
        """A reranker's candidate sets, schema CANDIDATES; raises UserError when the recipe has no reranker."""
        from kard_ray.reranker.candidates import VERSION, check_retriever

        r, reranker = self.recipe, self.reranker_config
        check_retriever(r.silver, r.retrieval)
        config = {
            "reranker": reranker.candidates_content(),
            "silver": {"query": r.silver.query, "mode": r.silver.mode},
            "query": r.prediction.query,
            "retrieval": r.retrieval.content(),
            "questions": r.questions.content(),
            "test_split": r.prediction.split,
        }
        inputs = self._keys(self.rationales_artifact) | self._knowledge_keys()
        return self._artifact("candidates", VERSION, config, inputs)

    @cached_property
    def reranker_artifact(self) -> Artifact:
        """The trained reranker, under ``reranker/``; raises UserError when the recipe has none."""
        from kard_ray.reranker.train import VERSION

        config = self.reranker_config.training_content()
        return self._artifact("reranker", VERSION, config, self._keys(self.candidates_artifact))

    @property
    def precomputes_vectors(self) -> bool:
        """Whether the reranker's token vectors of all passages are computed before questions are asked."""
        reranker = self.reranker_config
        return reranker.architecture == "late_interaction" and reranker.vector_dtype is not None

    @cached_property
    def token_vectors_artifact(self) -> Artifact:
        """Token vectors of all passages; raises UserError when the recipe's reranker has none."""
        from kard_ray.reranker.token_vectors import VERSION

        reranker = self.reranker_config
        if not self.precomputes_vectors:
            raise UserError(
                f"recipe {self.recipe.name}: token vectors need reranker.architecture late_interaction and a "
                f"reranker.vector_dtype; got {reranker.architecture} and {reranker.vector_dtype}."
            )
        config = {"dtype": reranker.vector_dtype} | self._version_config()
        inputs = self._keys(self.reranker_artifact) | self._knowledge_keys()
        return self._artifact("token_vectors", VERSION, config, inputs)

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
        """The student of ``method``; fields that it makes no use of are no part of its key.

        Raises UserError for a method that trains none.
        """
        from kard_ray.student.train import VERSION

        made, curriculum = METHODS[method], self.recipe.curriculum
        if not made.trained:
            raise UserError(f"method {method} only prompts recipe field student.model: it has no student.")
        config = self.recipe.student.content() | {"answer_form": self.recipe.answer_form}
        inputs = self._keys(self.benchmark_artifact, self.rationales_artifact)
        if self.learns_from_silver(method):
            inputs |= self._keys(self.silver_artifact)
        if self.learns_from_found(method):
            inputs |= self._keys(self.question_passages_artifact)
        if made.passages_from == "none":
            del config["passages"]
        if made.passages_from != "rationale":
            config.pop("found_share", None)
        if made.multi_task or not made.reasons:
            config.pop("answer_weight", None)
        if made.curriculum == "none":
            del config["stage_schedule"]
        else:
            config["schedule"] = curriculum.schedule.content()
        if made.curriculum == "symbolic":
            inputs |= self._keys(self.compression_artifact)
            if curriculum.examples:
                inputs |= self._keys(self.examples_artifact)
        if not made.multi_task:
            del config["alpha"]
        if not made.uses_rationales:
            del config["rationales"], config["choose"]
        return self._artifact(f"train/{method}", VERSION, config, inputs)

    def learns_from_found(self, method: MethodName) -> bool:
        """Whether what training questions find decides training rows: of all rows, or of ``student.found_share``."""
        made = METHODS[method].passages_from
        return made == "question" or (made == "rationale" and self.recipe.student.found_share > 0)

    def learns_from_silver(self, method: MethodName) -> bool:
        """Whether silver passages decide training rows: the method reads them, or its rationales are chosen by them."""
        made = METHODS[method]
        chosen_by_them = made.uses_rationales and self.recipe.student.choose == "supported"
        return made.passages_from == "rationale" or chosen_by_them

    def prediction_artifact(self, method: MethodName) -> Artifact:
        """Answers of the student of ``method``, schema PREDICTIONS."""
        from kard_ray.evaluation.predict import VERSION

        config = self.recipe.prediction.content() | {
            "questions": self.recipe.questions.content(),
            "sources": self.sources(method),
        }
        reads = METHODS[method].passages_from
        if METHODS[method].trained:
            inputs = self._keys(self.student_artifact(method))
        else:
            config |= self._prompted_config(method)
            inputs = self._keys(self.benchmark_artifact)
        if reads == "rationale" or "silver" in config["sources"]:
            inputs |= self._keys(self.silver_artifact)
        if reads != "none":
            inputs |= self._knowledge_keys()
            config["retrieval"] = self.recipe.retrieval.content()
        if uses_reranker(config["sources"]):
            config["depth"] = self.reranker_config.depth
            if weight := self.reranker_config.first_stage_weight:  # without it, earlier predictions stay good
                config["first_stage_weight"] = weight
            inputs |= self._keys(self.reranker_artifact)
            if self.precomputes_vectors or "multivector" in self.recipe.prediction.sources:
                inputs |= self._keys(self.token_vectors_artifact)
        return self._artifact(f"predict/{method}", VERSION, config, inputs)

    def _prompted_config(self, method: MethodName) -> dict[str, Any]:
        """What decides the prompts of a baseline and the model they are put to; of a student its own key tells.

        Raises UserError for a baseline with worked examples when the benchmark has none: before any work is done.
        """
        student, benchmark = self.recipe.student, self.recipe.questions_from()
        if METHODS[method].shots and isinstance(benchmark, JsonlConfig) and benchmark.examples is None:
            raise UserError(
                f"recipe field benchmark.examples: it is null, and method {method} shows worked examples; name a file "
                "of them, or leave the method out of student.methods."
            )
        names = ["model", "rendering"]
        names += ["passages"] if METHODS[method].passages_from != "none" else []
        names += ["seed"] if self.recipe.prediction.sampling.temperature > 0 else []
        content = student.content()
        return {"student": {name: content[name] for name in names}, "answer_form": self.recipe.answer_form}

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
        """Whether answers are asked for with silver passages."""
        return "silver" in self.recipe.prediction.sources and self.recipe.teacher.test_samples > 0

    @property
    def explains_tests(self) -> bool:
        """Whether test questions get rationales too; another choice of methods must not change the teacher's key."""
        return self.predicts_silver

    def sources(self, method: MethodName, *, new: bool = False) -> list[PassageSource]:
        """Where the passages come from that ``method`` reads at test, one prediction for each; "none": it reads none.

        Each search once for each number of rounds. A question that is ``new`` has no rationale, and is answered once.
        BM25 where the recipe names no search. Silver passages are for every trained student that reads, whatever it
        learned from: what rationales are worth shows where passages are the same. A prompted one needs no teacher.
        """
        asked, prediction = METHODS[method], self.recipe.prediction
        if asked.passages_from == "none":
            return ["none"]
        silver = asked.trained and self.predicts_silver and not new
        found: list[PassageSource] = ["none"] if asked.alone_and_with_passages and not new else []
        for source in prediction.sources:
            if source != "silver":
                found += [source_name(source, rounds) for rounds in prediction.rounds]
            elif silver:
                found.append("silver")
        if all(source == "none" for source in found):
            found += [source_name("bm25", rounds) for rounds in prediction.rounds]
        return found[:1] if new else found
