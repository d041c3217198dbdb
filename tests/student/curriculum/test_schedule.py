from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.student.curriculum.schedule import ScheduleConfig, Shape, examples_at, fractions, nearest_at

SHAPES = st.sampled_from(get_args(Shape))
STAGES = st.integers(2, 64)


def kept(shape: Shape, stages: int) -> tuple[float, ...]:
    return fractions(ScheduleConfig(shape=shape, stages=stages))


def test_the_papers_schedule_keeps_all_two_thirds_a_third_and_nothing() -> None:
    assert fractions(ScheduleConfig()) == pytest.approx((1, 2 / 3, 1 / 3, 0))
    assert [examples_at(6, fraction) for fraction in fractions(ScheduleConfig())] == [6, 4, 2, 0]


@given(SHAPES, STAGES)
def test_every_schedule_starts_with_everything_ends_with_nothing_and_never_rises(
    shape: Shape, stages: int
) -> None:
    found = kept(shape, stages)
    assert len(found) == stages
    assert (found[0], found[-1]) == (1.0, 0.0)
    assert all(later <= earlier for earlier, later in pairwise(found))
    assert all(0.0 <= fraction <= 1.0 for fraction in found)


@given(STAGES)
def test_exp_falls_fast_first_and_inverse_exp_slowly_first(stages: int) -> None:
    fast, even, slow = (kept(shape, stages) for shape in ("exp", "linear", "inverse_exp"))
    for low, middle, high in list(zip(fast, even, slow, strict=True))[1:-1]:
        assert low < middle < high
    assert fast == pytest.approx([1 - fraction for fraction in reversed(slow)])
    falls = [earlier - later for earlier, later in pairwise(fast)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(falls))


@given(STAGES, st.integers(0, 1000))
def test_the_number_of_examples_is_the_exact_floor(stages: int, k: int) -> None:
    exact = [math.floor(k * (1 - Fraction(t, stages - 1))) for t in range(stages)]
    assert [examples_at(k, fraction) for fraction in kept("linear", stages)] == exact
    # also as the formula is written, where floats err on the other side
    assert [examples_at(k, max(0.0, 1 - t / (stages - 1))) for t in range(stages)] == exact


@given(SHAPES, STAGES, st.integers(0, 64))
def test_the_number_of_examples_never_rises_from_all_to_none(shape: Shape, stages: int, k: int) -> None:
    found = [examples_at(k, fraction) for fraction in kept(shape, stages)]
    assert (found[0], found[-1]) == (k, 0)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("k", "fraction"), [(-1, 0.5), (6, -0.1), (6, 1.1), (6, math.nan)])
def test_a_fraction_outside_0_and_1_or_a_negative_number_is_refused(k: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="expected k >= 0 and a fraction from 0 to 1"):
        examples_at(k, fraction)


def test_one_stage_cannot_both_start_and_end() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        ScheduleConfig(stages=1)


@given(items=st.lists(st.text(max_size=3), max_size=12), fractions=st.lists(st.floats(0, 1), max_size=6))
def test_what_a_later_stage_shows_is_the_first_of_an_earlier_ones(
    items: list[str], fractions: list[float]
) -> None:
    stages = [nearest_at(items, fraction) for fraction in sorted([*fractions, 0.0, 1.0], reverse=True)]
    assert stages[0] == items
    assert stages[-1] == []
    assert all(before[: len(after)] == after for before, after in pairwise(stages))


@given(k=st.integers(0, 64), stages=st.integers(2, 12), data=st.data())
def test_a_linear_schedule_keeps_whole_shares_in_spite_of_rounding(
    k: int, stages: int, data: st.DataObject
) -> None:
    t = data.draw(st.integers(1, stages))
    kept = nearest_at([str(n) for n in range(k)], 1 - (t - 1) / (stages - 1))
    assert len(kept) == k * (stages - t) // (stages - 1)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        nearest_at(["a"], fraction)
