"""What a filter sees and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kard_ray.benchmarks.rendering import AnswerForm


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One rationale with everything it was written from."""

    rationale: str
    question: str
    options: Sequence[str]
    answer: int
    passages: Sequence[str]  # titles and texts of the passages the teacher saw or should agree with
    answer_form: AnswerForm


class Filter(Protocol):
    """Decides on one rationale."""

    @property
    def name(self) -> str:
        """The name used in recipes and manifests."""
        ...

    def reason(self, written: Written) -> str | None:
        """Why to drop the rationale, or None to keep it."""
        ...
