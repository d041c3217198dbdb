"""Prompted baselines: the student's model as it is, without training (KARD, ICL; SKIntern, zero-shot).

Each of them answers directly or reasons first (CoT), from the question alone or after worked examples, with or without
the passages that the question finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kard_ray.benchmarks.question import WorkedExample
from kard_ray.benchmarks.rendering import AnswerForm, conclusion
from kard_ray.student.help import Shot
from kard_ray.student.methods.base import Example, Given, Method

STEPS = "Let's think step by step."  # Kojima et al. 2022
ANSWER = "So the answer is"  # the beginning of every conclusion
SHOTS = 5  # KARD


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompted(Method):
    """argmax p(y | x), or p(r, y | x), of the model as it is.

    Zero-shot CoT asks twice, as Kojima et al. do: for steps, then for the answer behind them. After worked examples
    the model concludes by itself.
    """

    uses_rationales: bool = False
    trained: bool = False
    stop: tuple[str, ...] = ("\nQuestion:", "\nKnowledge:")  # it goes on with a next example of its own

    def examples(self, given: Given) -> Iterator[Example]:
        """None: there is nothing to learn from."""
        return iter(())


def prompted(name: str, *, steps: bool = False, shots: int = 0, knowledge: bool = False) -> Prompted:
    """The baseline ``name``: with ``steps`` it reasons first, with ``knowledge`` it reads what the question finds."""
    cues = ((STEPS,) if shots else (STEPS, ANSWER)) if steps else (ANSWER,)
    return Prompted(name=name, cues=cues, shots=shots, passages_from="question" if knowledge else "none")


def worked_shots(method: Method, examples: Sequence[WorkedExample], form: AnswerForm) -> tuple[Shot, ...]:
    """The first of ``examples`` as the prompts of ``method`` show them: with passages only if it reads some itself."""
    reads, steps = method.passages_from != "none", method.cues[0] == STEPS
    return tuple(
        Shot(
            question=example.question,
            options=example.options,
            written=" ".join(
                [
                    *([STEPS, example.rationale] if steps else []),
                    conclusion(example.options, example.answer, form, example.gold),
                ]
            ),
            passages=tuple(("", text) for text in example.passages) if reads else (),
        )
        for example in examples[: method.shots]
    )
