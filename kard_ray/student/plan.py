"""What every optimizer step does, known before the first one: rows, stage of the curriculum, learning rate.

It is a function of rows and recipe, so a resumed training needs the number of its step alone, also inside a stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kard_ray.student.config import StudentConfig
from kard_ray.training.optimizer import learning_rate
from kard_ray.training.order import plan_batches


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: numbers of its rows, their stage, and the learning rate."""

    rows: list[int]
    stage: int
    rate: float


def plan_training(lengths: Sequence[int], stages: Sequence[int], config: StudentConfig) -> list[Step]:
    """All steps over rows of ``lengths`` tokens in ``stages``: stage after stage, each for its share of the epochs.

    With ``stage_schedule: restart`` warm-up and decay begin anew with every stage, else they span all steps.
    """
    numbers = sorted(set(stages))
    parts: list[tuple[int, list[list[int]]]] = []
    for stage in numbers:
        rows = [row for row, of in enumerate(stages) if of == stage]
        batches = plan_batches(
            [lengths[row] for row in rows],
            batch_size=config.batch_size,
            epochs=config.epochs / len(numbers),
            seed=config.seed if len(numbers) == 1 else f"{config.seed}:stage {stage}",
        )
        parts.append((stage, [[rows[at] for at in batch] for batch in batches]))
    whole = sum(len(batches) for _, batches in parts)
    plan: list[Step] = []
    for stage, batches in parts:
        restart = config.stage_schedule == "restart"
        first, steps = (0, len(batches)) if restart else (len(plan), whole)
        for at, rows in enumerate(batches):
            rate = learning_rate(
                first + at, steps=steps, peak=config.learning_rate, warmup_fraction=config.warmup_fraction
            )
            plan.append(Step(rows, stage, rate))
    return plan


def evaluation_steps(plan: Sequence[Step], count: int) -> list[int]:
    """After which steps (counted from 1) a student is looked at: ``count`` times, evenly, the last step among them.

    All in the last stage: before it a student still leans on help that it will not have.
    """
    last = [number for number, step in enumerate(plan, start=1) if step.stage == plan[-1].stage]
    times = min(count, len(last))
    return [last[at * len(last) // times - 1] for at in range(1, times + 1)]
