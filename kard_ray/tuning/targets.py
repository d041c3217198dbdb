"""What can be swept: which of the recipe's fields such a trial may change, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kard_ray.student.held_out import HELD_OUT
from kard_ray.student.methods.registry import MethodName

Mode = Literal["min", "max"]
RERANKER: Literal["reranker"] = "reranker"
TargetName = Literal["reranker"] | MethodName

_SAME_QUESTIONS = "all trials are measured on the same questions"
_SAME_CANDIDATES = "all trials are measured on the same candidates"
_RESOURCES = "how many trials run side by side follows from it"
_AT_USE = "it says how a trained reranker is used, and all trials would train the same"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A training stage whose fields are varied."""

    name: str  # as in the recipe
    stage: str  # of the pipeline
    method: MethodName | None  # of a student
    groups: tuple[str, ...]  # of the recipe, whose fields may be varied
    fixed: Mapping[str, str]  # fields of these groups that may not, and why
    metrics: Mapping[str, Mode]  # what trials report, the default first
    reported: Mapping[str, str]  # metric -> its name in the workers' reports
    loss_fields: tuple[str, ...] = ()  # with other values of these the metric loss is another measure

    @property
    def group(self) -> str:
        """The recipe's group with epochs, workers and resources of the training."""
        return self.groups[0]


def target_of(name: TargetName) -> Target:
    """The target called ``name`` in a recipe."""
    if name == RERANKER:
        metrics: dict[str, Mode] = {
            "hits@1": "max",
            "hits@3": "max",
            "hits@10": "max",
            "ndcg": "max",
            "loss": "min",
        }
        return Target(
            name=RERANKER,
            stage=RERANKER,
            method=None,
            groups=("reranker",),
            fixed={
                "reranker.dev_fraction": _SAME_QUESTIONS,
                "reranker.seed": _SAME_QUESTIONS,
                "reranker.dev_depth": _SAME_CANDIDATES,
                "reranker.first_stage": _SAME_CANDIDATES,
                "reranker.depth": _AT_USE,
                "reranker.first_stage_weight": _AT_USE,
                "reranker.vector_dtype": _AT_USE,
                **_resources("reranker"),
            },
            metrics=metrics,
            reported={metric: metric for metric in metrics},
            loss_fields=(
                "reranker.loss",
                "reranker.annealing",
                "reranker.rationale_temperature",
                "reranker.question_temperature",
                "reranker.last_rationale_temperature",
                "reranker.last_question_temperature",
            ),
        )
    return Target(
        name=name,
        stage="train",
        method=name,
        groups=("student", "curriculum"),
        fixed={
            "student.methods": "the method is the sweep's target",
            "student.held_out": _SAME_QUESTIONS,
            "student.seed": _SAME_QUESTIONS,
            "student.best": "it says what the held-out questions measure",
            **_resources("student"),
        },
        metrics={"loss": "min", "accuracy": "max"},
        reported={metric: HELD_OUT + metric for metric in ("loss", "accuracy")},
    )


def _resources(group: str) -> dict[str, str]:
    return {f"{group}.{name}": _RESOURCES for name in ("workers", "cpus_per_worker", "gpus_per_worker")}
