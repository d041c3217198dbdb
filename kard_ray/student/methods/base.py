"""What a method decides: which inputs the student sees and what it learns to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm, conclusion
from kard_ray.student.help import Help, Shot
from kard_ray.student.rendering import DEFAULT_CUE

__all__ = ["Curriculum", "Evidence", "Example", "Given", "Help", "Method", "PassagesFrom", "Shot", "Task"]

# What the passages that a student reads in training are searched with; "none": it reads none.
PassagesFrom = Literal["none", "question", "rationale"]

# What a student is shown less of from stage to stage; "none": there is one stage.
Curriculum = Literal["none", "symbolic", "passages"]

# What a row teaches to write, where a method learns two tasks.
Task = Literal["rationale", "answer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One kept rationale of a question with what belongs to it."""

    rationale: str
    silver: Sequence[tuple[str, str]]  # passages that it finds, best first, as (title, text)
    help: Sequence[Help] = ()  # its symbolic knowledge at each stage of the curriculum, or none


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """All that the training rows of one question may be made from."""

    question: Question
    evidence: Sequence[Evidence]
    passages: int  # a row may have at most
    form: AnswerForm
    alpha: float  # weight of the answer where there are two tasks, 0 to 1
    found: Sequence[tuple[str, str]] = ()  # passages that the question finds, best first, as (title, text)
    shots: Sequence[Shot] = ()  # its examples, nearest first
    fractions: tuple[float, ...] = ()  # S_t: how much help each stage keeps; none without a curriculum

    @property
    def conclusion(self) -> str:
        """The closing sentence with the gold answer."""
        return conclusion(self.question.options, self.question.answer, self.form, self.question.gold)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One training row before tokenization; ``target`` is what the student writes, without EOS."""

    question: Question
    passages: Sequence[tuple[str, str]]
    target: str
    cue: str = DEFAULT_CUE  # what the prompt ends with
    task: Task = "rationale"
    weight: float = 1.0  # of its task's mean loss per target token
    stage: int = 1  # of the curriculum, from 1
    help: Help | None = None
    shots: Sequence[Shot] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Method(ABC):
    """One way to distil, or to ask a model that is not trained at all."""

    name: str  # in recipes and reports
    uses_rationales: bool = True  # it learns from rationales: a question without one then gives no row
    reasons: bool = True  # what it learns to write holds a rationale; False: the answer alone
    passages_from: PassagesFrom = "none"
    multi_task: bool = False  # it learns two tasks at once: alpha divides the loss between them
    trained: bool = True  # False: a prompted baseline, the student's model as it is
    curriculum: Curriculum = "none"
    # Asked one after the other at test; what was written for one stands in the prompt of the next.
    cues: tuple[str, ...] = (DEFAULT_CUE,)
    shots: int = 0  # worked examples in every prompt at test
    stop: tuple[str, ...] = ()  # texts that end its reply, where it has not learned to stop
    alone_and_with_passages: bool = False  # tested without passages too: it may ask for them

    @abstractmethod
    def examples(self, given: Given) -> Iterator[Example]:
        """Training rows of one question; none when the method needs a rationale and there is none."""
