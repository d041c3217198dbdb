"""What a method decides: which inputs the student sees and what it learns to write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.student.rendering import DEFAULT_CUE

# What the passages that a student reads in training are searched with; "none": it reads none.
PassagesFrom = Literal["none", "question", "rationale"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One kept rationale of a question with its silver passages, best first, as (title, text)."""

    rationale: str
    silver: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One training row before tokenization; ``target`` is what the student writes, without EOS."""

    question: Question
    passages: Sequence[tuple[str, str]]
    target: str
    cue: str = DEFAULT_CUE  # what the prompt ends with
    weight: float = 1.0  # of each target token in the loss


class Method(Protocol):
    """One way to distil."""

    @property
    def name(self) -> str:
        """The name used in recipes and reports."""
        ...

    @property
    def uses_rationales(self) -> bool:
        """Whether it learns from rationales: a question without one then gives no row."""
        ...

    @property
    def passages_from(self) -> PassagesFrom:
        """What its training passages are searched with."""
        ...

    @property
    def multi_task(self) -> bool:
        """Whether it learns two tasks at once: alpha divides the loss between them."""
        ...

    @property
    def answer_cue(self) -> str:
        """The cue that asks the trained student for its answer; recorded with the student."""
        ...

    def examples(
        self,
        question: Question,
        evidence: Sequence[Evidence],
        *,
        found: Sequence[tuple[str, str]],
        passages: int,
        form: AnswerForm,
        alpha: float,
    ) -> Iterator[Example]:
        """Training rows of one question; none when the method needs a rationale and there is none.

        ``found`` are the passages that the question finds, best first, as (title, text): empty unless the method reads
        them. ``passages`` is how many passages a row may have; ``alpha`` (0 to 1) is the weight of the answer where
        there are two tasks.
        """
        ...
