"""What each part is started with: made on the driver from a run directory, sent to the replicas as it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from kard_ray.evaluation.prompts import Manner
from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.reranker.trained import TrainedReranker
from kard_ray.runtime.engine import EngineConfig, SamplingConfig
from kard_ray.serving.config import ServingConfig
from kard_ray.serving.routing import Routing


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentPlan:
    """One student, as the engine that holds it has to know it."""

    name: str
    version: str
    manner: Manner  # without its knowledge base: passages come with the question
    sampling: SamplingConfig
    log_probs: bool  # whether its texts come with how probable they were

    def __post_init__(self) -> None:
        if self.manner.knowledge is not None:
            object.__setattr__(self, "manner", replace(self.manner, knowledge=None))


@dataclass(frozen=True, kw_only=True, slots=True)
class EnginePlan:
    """One engine: a model, and the students that it holds (several when they are adapters on the model)."""

    name: str  # of the deployment
    model_path: str
    encoder_decoder: bool
    config: EngineConfig
    seed: int
    students: tuple[StudentPlan, ...]
    adapter_rank: int = 0  # 0: none of them is an adapter
    adapters: int = 0  # that there is room for


@dataclass(frozen=True, kw_only=True, slots=True)
class KnowledgePlan:
    """The knowledge base that is served."""

    folder: str
    versions: tuple[str, ...]  # tags that are opened at the start
    retrieval: RetrievalConfig
    modes: tuple[str, ...]
    reranker: TrainedReranker | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicePlan:
    """All of it."""

    config: ServingConfig
    routing: Routing
    knowledge: KnowledgePlan
    engines: tuple[EnginePlan, ...]
    feedback: str
    tokens: str | None  # file; None: no token is asked for
    warnings: tuple[str, ...] = field(default=())


_STUDENTS = TypeAdapter(tuple[StudentPlan, ...])


def students_as_json(students: tuple[StudentPlan, ...]) -> Any:
    """Plain JSON, which Serve hands to running replicas."""
    return _STUDENTS.dump_python(students, mode="json")


def students_from_json(plain: Any) -> tuple[StudentPlan, ...]:
    """Inverse of :func:`students_as_json`."""
    return _STUDENTS.validate_python(plain)
