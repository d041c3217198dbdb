from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.config import StudentConfig
from kard_ray.student.plan import Step, evaluation_steps, plan_training
from kard_ray.training.optimizer import learning_rate
from kard_ray.training.order import plan_batches

TABLE = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 3)), min_size=1, max_size=120)


@given(TABLE, st.integers(1, 20), st.integers(1, 2))
def test_stages_follow_each_other_and_every_row_gets_its_share_of_the_epochs(
    table: list[tuple[int, int]], batch_size: int, each: int
) -> None:
    lengths, stages = [length for length, _ in table], [stage for _, stage in table]
    count = len(set(stages))
    config = StudentConfig(batch_size=batch_size, epochs=each * count)
    plan = plan_training(lengths, stages, config)
    order = [step.stage for step in plan]
    assert order == sorted(order)
    assert all(stages[row] == step.stage for step in plan for row in step.rows)
    assert Counter(row for step in plan for row in step.rows) == dict.fromkeys(range(len(table)), each)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=100), st.floats(0.1, 3.0))
def test_one_stage_is_the_training_as_it_always_was(lengths: list[int], epochs: float) -> None:
    config = StudentConfig(epochs=epochs, batch_size=8)
    plan = plan_training(lengths, [1] * len(lengths), config)
    assert [step.rows for step in plan] == plan_batches(
        lengths, batch_size=8, epochs=epochs, seed=config.seed
    )
    rates = [
        learning_rate(at, steps=len(plan), peak=config.learning_rate, warmup_fraction=config.warmup_fraction)
        for at in range(len(plan))
    ]
    assert [step.rate for step in plan] == rates
    assert plan == plan_training(
        lengths, [1] * len(lengths), config.model_copy(update={"stage_schedule": "restart"})
    )


def test_a_schedule_spans_all_stages_or_begins_anew_with_each() -> None:
    stages = [1] * 40 + [2] * 40
    settings = {"batch_size": 4, "epochs": 2, "learning_rate": 1.0, "warmup_fraction": 0.2}
    whole = plan_training([9] * 80, stages, StudentConfig(**settings))
    restart = plan_training([9] * 80, stages, StudentConfig(**settings, stage_schedule="restart"))
    assert [step.rows for step in whole] == [step.rows for step in restart]
    assert [step.rate for step in whole].index(1.0) == 3  # 20 % of 20 steps
    # Two peaks, each the end of a warm-up and the first after it
    assert sum(step.rate == 1.0 for step in restart) == 4
    assert [step.rate for step in restart[:10]] == [step.rate for step in restart[10:]]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=60), st.integers(1, 9))
def test_students_are_looked_at_in_the_last_stage_and_at_the_end(stages: list[int], count: int) -> None:
    plan = [Step([0], stage, 0.1) for stage in sorted(stages)]
    looks = evaluation_steps(plan, count)
    last = [number for number, step in enumerate(plan, start=1) if step.stage == plan[-1].stage]
    assert set(looks) <= set(last)
    assert looks[-1] == len(plan)
    assert len(looks) == min(count, len(last))


@pytest.mark.parametrize(("count", "expected"), [(1, [12]), (3, [4, 8, 12]), (5, [2, 4, 7, 9, 12])])
def test_evaluations_are_evenly_spread(count: int, expected: list[int]) -> None:
    assert evaluation_steps([Step([0], 1, 0.1)] * 12, count) == expected
