from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kard_ray.evaluation.intervals import bootstrap_interval, resampled_means
from kard_ray.evaluation.scoring import wilson_interval

CORRECT = arrays(
    np.int8, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.integers(0, 1)
)  # fmt: skip


@settings(max_examples=50)
@given(CORRECT)
def test_the_interval_lies_in_0_to_1_and_around_the_mean(correct_SQ: np.ndarray) -> None:
    low, high = bootstrap_interval(correct_SQ, resamples=2000)
    assert -1e-12 <= low <= high <= 1 + 1e-12
    assert low - 0.05 <= correct_SQ.mean() <= high + 0.05


@settings(max_examples=20)
@given(CORRECT, st.integers(0, 9))
def test_the_same_seed_gives_the_same_interval(correct_SQ: np.ndarray, seed: int) -> None:
    first, again = (bootstrap_interval(correct_SQ, resamples=300, seed=seed) for _ in range(2))
    assert first == again


def test_one_seed_agrees_with_the_binomial_interval() -> None:
    correct = np.arange(400) < 140
    assert bootstrap_interval(correct) == pytest.approx(wilson_interval(140, 400), abs=0.006)
    assert bootstrap_interval(correct) == bootstrap_interval(correct[None].astype(float))


def test_what_never_varies_has_an_interval_of_no_width() -> None:
    assert bootstrap_interval(np.ones((3, 20))) == pytest.approx((1, 1))
    assert bootstrap_interval(np.zeros((1, 20))) == (0, 0)


def test_without_questions_there_is_no_interval() -> None:
    assert all(math.isnan(bound) for bound in bootstrap_interval(np.empty((2, 0))))
    with pytest.raises(ValueError, match="seeds x questions"):
        bootstrap_interval(np.zeros((2, 2, 2)))


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = np.tile(np.arange(200) % 2, (3, 1))
    apart = np.array([np.arange(200) % 10 < tenths for tenths in (2, 5, 8)])
    narrow, wide = (np.subtract(*bootstrap_interval(correct)[::-1]) for correct in (alike, apart))
    assert wide > 2 * narrow


def test_drawing_in_parts_draws_the_same_questions_for_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random((1, 50))
    monkeypatch.setattr("kard_ray.evaluation.intervals._CHUNK", 50 * 7)
    one, other = resampled_means([values, 1 - values], resamples=100, seed=0)
    assert len(one) == 100
    assert one + other == pytest.approx(np.ones(100))


@pytest.mark.parametrize(
    ("seeds", "spread", "questions"), [(1, 0.0, 100), (1, 0.0, 30), (3, 0.0, 100), (3, 0.03, 100), (2, 0.03, 100)]
)  # fmt: skip
def test_about_95_of_100_intervals_hold_the_true_accuracy(seeds: int, spread: float, questions: int) -> None:
    """Questions of any difficulty, students whose accuracy differs by ``spread`` from seed to seed; truth 0.5."""
    draw = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        hardness_Q = draw.beta(0.8, 0.8, size=questions)
        skill_S = draw.normal(0, spread, size=seeds)
        chance_SQ = np.clip(hardness_Q + skill_S[:, None], 0, 1)
        low, high = bootstrap_interval(draw.random(chance_SQ.shape) < chance_SQ, resamples=400)
        held += low <= 0.5 <= high
    assert 0.91 * 200 <= held <= 200
    if seeds == 1:
        assert held <= 0.99 * 200  # not made so by being too wide
