from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from kard_ray.tuning.config import Distribution, SweepConfig
from kard_ray.tuning.schedulers import EPOCHS, LAST, VALUE, grace_of, make_scheduler
from kard_ray.tuning.trials import Point, TrialRecord

STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE


@dataclass(frozen=True)
class Trial:
    """What a rule sees of one of Ray Tune's trials."""

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict, hash=False)


def config_of(scheduler: str, **more: Any) -> SweepConfig:
    space = {"reranker.epochs": Distribution(choice=(1, 2))}
    return SweepConfig.model_validate({"space": space, "scheduler": scheduler} | more)


def run(rule: Any, trial: Trial, values: list[float], epochs: int) -> int:
    """How many of ``values``, one after each epoch, the trial gets to report."""
    rule.on_trial_add(None, trial)
    for at, value in enumerate(values, start=1):
        result = {EPOCHS: at, VALUE: value, LAST: at == epochs}
        if rule.on_trial_result(None, trial, result) == STOP or at == epochs:
            rule.on_trial_complete(None, trial, result)
            return at
    raise AssertionError


GOOD, BAD = [0.5, 0.6, 0.7, 0.8], [0.1, 0.1, 0.1, 0.1]


def test_asha_stops_the_worse_trials_where_it_decides_and_lets_the_better_ones_run() -> None:
    rule = make_scheduler(config_of("asha", reduction=2, grace=1), "max", 4, [])
    assert run(rule, Trial("a"), GOOD, 4) == 4
    assert run(rule, Trial("b"), BAD, 4) == 1
    assert run(rule, Trial("c"), [0.9, 0.3, 0.3, 0.3], 4) == 2
    assert run(rule, Trial("d"), [0.9, 0.9, 0.9, 0.1], 4) == 4  # nothing is decided at the end


def test_asha_can_look_for_small_values() -> None:
    rule = make_scheduler(config_of("asha", reduction=2, grace=1), "min", 4, [])
    assert run(rule, Trial("a"), BAD, 4) == 4
    assert run(rule, Trial("b"), GOOD, 4) == 1


def test_the_median_rule_waits_for_three_trials() -> None:
    rule = make_scheduler(config_of("median", grace=1), "max", 4, [])
    for name in "abc":
        assert run(rule, Trial(name), GOOD, 4) == 4
    assert run(rule, Trial("d"), BAD, 4) == 1
    assert run(rule, Trial("e"), [0.9] * 4, 4) == 4


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_neither_the_recipes_own_values_nor_a_training_that_is_over_are_stopped(scheduler: str) -> None:
    rule = make_scheduler(config_of(scheduler, reduction=2, grace=1), "max", 4, [])
    for name in "abc":
        run(rule, Trial(name), GOOD, 4)
    assert run(rule, Trial("own", {"own": True}), BAD, 4) == 4
    assert run(rule, Trial("short"), BAD[:1], 1) == 1  # its last report is at the first decision
    assert run(rule, Trial("other"), BAD, 4) == 1


@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_a_trial_that_measures_no_number_is_stopped(scheduler: str) -> None:
    rule = make_scheduler(config_of(scheduler), "min", 4, [])
    assert run(rule, Trial("a", {"own": True}), [0.5, math.nan, 0.5, 0.5], 4) == 2


def test_without_a_rule_nothing_else_is() -> None:
    rule = make_scheduler(config_of("none"), "max", 4, [])
    for name, values in (("a", GOOD), ("b", BAD)):
        assert run(rule, Trial(name), values, 4) == 4


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_a_rule_knows_the_trials_of_earlier_calls(scheduler: str) -> None:
    records = [
        TrialRecord(
            number=at,
            values={},
            state="finished",
            points=tuple(Point(epochs=epoch, value=value) for epoch, value in enumerate(GOOD, start=1)),
        )
        for at in range(3)
    ]
    records.append(TrialRecord(number=3, values={}, state="stopped", points=(Point(epochs=1, value=None),)))
    # It will tell again
    records.append(TrialRecord(number=4, values={}, points=(Point(epochs=1, value=0.9),)))
    rule = make_scheduler(config_of(scheduler, reduction=2, grace=1), "max", 4, records)
    assert run(rule, Trial("a"), BAD, 4) == 1
    assert run(rule, Trial("b"), [0.55, 0.65, 0.75, 0.85], 4) == 4


def test_every_trial_gets_a_quarter_of_the_longest_unless_told() -> None:
    assert grace_of(config_of("asha"), 8) == 2
    assert grace_of(config_of("asha", grace=3), 8) == 3
