from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.tuning.config import Distribution, SweepConfig, scalar_text

SPACE = {"reranker.learning_rate": {"log_uniform": [1e-5, 1e-3]}}


def sweep(**fields: Any) -> SweepConfig:
    return SweepConfig.model_validate({"space": SPACE} | fields)


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({}, "it has none of uniform, log_uniform, integers, choice"),
        ({"uniform": [0, 1], "choice": [1]}, "it has uniform and choice of"),
        ({"uniform": [1, 1]}, "uniform goes from 1 to 1; the first must be the smaller one"),
        ({"integers": [8, 2]}, "integers goes from 8 to 2"),
        ({"log_uniform": [0, 1]}, "only numbers above 0 have a logarithm"),
        ({"choice": [1, 2, 1]}, "a value of choice stands there twice"),
        ({"choice": [1, 2], "step": 1}, "step goes with uniform and integers, not with choice"),
        ({"uniform": [0, 1], "step": 2}, "step is 2, more than there is from 0 to 1"),
        ({"integers": [1, 9], "step": 0.5}, "integers are a whole number apart"),
    ],
)
def test_a_distribution_that_is_none_is_refused_with_the_reason(given_: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told.replace("(", r"\(")):
        Distribution.model_validate(given_)


def test_values_are_those_that_can_be_drawn() -> None:
    assert Distribution(choice=("a", None, True, 1)).values() == ("a", None, True, 1)
    assert Distribution(integers=(4, 17), step=4).values() == (4, 8, 12, 16)
    assert Distribution(uniform=(0.1, 0.4), step=0.1).values() == (0.1, 0.2, 0.3, 0.4)
    assert Distribution(uniform=(0, 1)).values() is None
    assert Distribution(log_uniform=(1, 2)).values() is None


def test_the_ends_and_something_between_are_tried() -> None:
    assert Distribution(integers=(4, 17), step=4).probes() == (4, 8, 16)
    low, inside, high = Distribution(uniform=(2, 8)).probes()
    assert (low, high) == (2, 8)
    assert isinstance(inside, float)
    assert not inside.is_integer()


@given(st.floats(1e-8, 1e8), st.floats(1.001, 1e4), st.floats(0, 1))
def test_drawn_numbers_are_short_and_stay_inside(low: float, factor: float, at: float) -> None:
    values = Distribution(log_uniform=(low, low * factor))
    tidied = values.tidy(low + at * low * (factor - 1))
    assert values.holds(tidied)
    assert tidied in (low, low * factor) or len(f"{tidied:e}".rpartition("e")[0].rstrip("0")) <= len("-1.234")


def test_what_a_distribution_holds() -> None:
    assert Distribution(integers=(4, 16), step=4).holds(8)
    assert not Distribution(integers=(4, 16), step=4).holds(9)
    assert Distribution(choice=(1, 2)).holds(2.0)  # a recipe's own 2.0 is the choice 2
    assert not Distribution(choice=(1, 2)).holds(True)
    assert not Distribution(uniform=(0, 1)).holds(None)


def test_more_trials_and_machines_are_the_same_sweep_another_space_is_not() -> None:
    own = sweep().content()
    assert sweep(trials=99, minutes=5, concurrency=7, max_failures=3, keep="all").content() == own
    assert sweep(space={"reranker.learning_rate": {"log_uniform": [1e-5, 1e-2]}}).content() != own
    assert sweep(scheduler="median").content() != own
    assert own["space"] == SPACE


def test_a_metric_that_trials_do_not_report_is_refused() -> None:
    with pytest.raises(ValidationError, match="metric is 'accuracy', but trials of reranker report hits@1, "):
        sweep(metric="accuracy")
    with pytest.raises(ValidationError, match="trials of kard report loss, accuracy; name one of them"):
        sweep(target="kard", metric="hits@1")
    assert sweep(target="kard", metric="accuracy").metric == "accuracy"


def test_values_look_as_in_a_recipe() -> None:
    assert [scalar_text(value) for value in (None, True, 3, 2.0, 1e-5, "kl")] == [
        "null", "true", "3", "2", "1e-05", "kl",
    ]  # fmt: skip
