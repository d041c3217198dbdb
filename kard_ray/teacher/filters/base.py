"""What filters see and return: one interface, three kinds that differ in what they need to see at once.

A filter looks at one rationale (:class:`Filter`), at the samples of one question together (:class:`GroupFilter`), or at
many with a model that is loaded once (:class:`ModelFilter`). Filters are asked in the recipe's order, and each sees
only what those before it kept: the first that objects gives the reason, a duplicate of a dropped sample is none, and
no model runs for what a plain filter drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.models import ModelRef


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One rationale with everything it was written from."""

    rationale: str
    question: str
    options: Sequence[str]  # empty: a question without options
    answer: int  # index of the gold option; -1 when there are no options
    passages: Sequence[str]  # titles and texts of the passages the teacher saw or should agree with
    answer_form: AnswerForm
    gold: str = ""  # the right answer of a question without options


@runtime_checkable
class Filter(Protocol):
    """Decides on one rationale."""

    @property
    def name(self) -> str:
        """The name used in recipes and manifests."""
        ...

    def reason(self, written: Written) -> str | None:
        """Why to drop the rationale, or None to keep it."""
        ...


@runtime_checkable
class GroupFilter(Protocol):
    """Decides on rationales that it sees together: the samples of one question, in their order.

    A loaded :class:`ModelFilter` is one too; it judges each by itself and may be given those of many questions.
    """

    @property
    def name(self) -> str:
        """The name used in recipes and manifests."""
        ...

    def reasons(self, samples: Sequence[Written]) -> list[str | None]:
        """For each of ``samples``, why to drop it, or None to keep it."""
        ...


@runtime_checkable
class ModelFilter(Protocol):
    """A filter that needs a model, before the model is loaded: settings that travel to the actor that loads it."""

    @property
    def name(self) -> str:
        """The name used in recipes and manifests."""
        ...

    @property
    def model(self) -> ModelRef:
        """The model it judges with."""
        ...

    @property
    def replicas(self) -> int:
        """Actors that hold the model."""
        ...

    @property
    def gpus_per_replica(self) -> float:
        """GPUs of each."""
        ...

    def load(self, model_path: str) -> GroupFilter:
        """The filter with its model, from the directory that ``model`` resolves to."""
        ...


AnyFilter = Filter | GroupFilter | ModelFilter


def reasons(check: Filter | GroupFilter, samples: Sequence[Written]) -> list[str | None]:
    """What ``check`` says about ``samples`` of one question: why to drop each, or None to keep it."""
    if isinstance(check, GroupFilter):
        return check.reasons(samples)
    return [check.reason(written) for written in samples]
