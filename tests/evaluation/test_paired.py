from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kard_ray.evaluation.paired import BOOTSTRAP, MCNEMAR, compare_pair, compare_pairs, holm, mcnemar

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def correct(seeds: int, questions: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.int8, (seeds, questions), elements=st.integers(0, 1))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    from scipy.stats import binomtest

    n = only_a + only_b
    expected = binomtest(only_a, n, 0.5).pvalue if n else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


def test_mcnemar_holds_for_thousands_of_questions() -> None:
    assert mcnemar(6000, 6000) == 1.0
    assert 0 < mcnemar(5800, 6200) < 0.001


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 3), st.data())
def test_turning_a_pair_round_turns_the_difference_round(
    seeds_a: int, seeds_b: int, data: st.DataObject
) -> None:
    a, b = data.draw(correct(seeds_a, 12)), data.draw(correct(seeds_b, 12))
    there, back = compare_pair(a, b, resamples=500), compare_pair(b, a, resamples=500)
    assert there.difference == pytest.approx(a.mean() - b.mean())
    assert back.difference == pytest.approx(-there.difference)
    assert -1 <= there.ci_low <= there.ci_high <= 1
    assert 0 < there.p_value <= 1
    assert there.test == back.test == (MCNEMAR if seeds_a == seeds_b == 1 else BOOTSTRAP)
    if seeds_a == seeds_b == 1:
        assert back.p_value == there.p_value


@given(st.integers(1, 3).flatmap(lambda seeds: correct(seeds, 20)))
@settings(max_examples=25)
def test_a_method_is_not_better_than_itself(a: np.ndarray) -> None:
    pair = compare_pair(a, a, resamples=500)
    assert pair.difference == 0
    assert pair.ci_low <= 0 <= pair.ci_high
    assert pair.p_value > 0.05
    if len(a) == 1:
        assert (pair.ci_low, pair.ci_high, pair.p_value) == (0, 0, 1)


def test_a_difference_on_the_same_questions_is_seen_more_sharply_than_the_two_accuracies() -> None:
    a = np.arange(200) < 110
    b = a & (np.arange(200) % 11 > 0)  # ten of a's 110 right answers are lost
    pair = compare_pair(a, b)
    assert pair.difference == pytest.approx(0.05)
    assert 0.015 < pair.ci_low < 0.05 < pair.ci_high < 0.085
    assert pair.p_value == mcnemar(10, 0) == pytest.approx(2 / 2**10)


def test_the_same_students_asked_in_two_ways_are_drawn_together() -> None:
    level = np.array([0.3, 0.5, 0.7])  # three students that differ far more than the two ways of asking them
    draw = np.random.default_rng(0)
    b = draw.random((3, 400)) < level[:, None]
    a = b | (draw.random((3, 400)) < 0.1)
    alike, apart = compare_pair(a, b, same_students=True), compare_pair(a, b)
    assert alike.difference == apart.difference > 0
    assert apart.ci_low < 0 < alike.ci_low
    assert alike.p_value < 0.01 < 0.1 < apart.p_value
    found = compare_pairs(
        {"a": a, "b": b, "c": b}, [("a", "b"), ("a", "c")], students={"a": "x", "b": "x", "c": "y"}
    )
    assert [pair["ci_low"] for pair in found] == [alike.ci_low, apart.ci_low]
    one, other = (compare_pair(a[0], b[0], same_students=same) for same in (True, False))
    assert (one.difference, one.p_value, one.test) == (other.difference, other.p_value, MCNEMAR)
    with pytest.raises(ValueError, match="3 and 2 seeds"):
        compare_pair(a, b[:2], same_students=True)


def test_seeds_may_differ_in_number_and_scores_need_not_be_0_or_1() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.random((3, 150)) < 0.7, draw.random((1, 150)) < 0.3
    pair = compare_pair(a, b, resamples=2000)
    assert (pair.n, pair.test) == (150, BOOTSTRAP)
    assert pair.ci_low > 0.2
    assert pair.p_value == pytest.approx(2 / 2001)
    assert compare_pair([0.5, 0.2], [0.1, 0.1], resamples=50).test == BOOTSTRAP


def test_other_questions_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="answered 3 and 4 questions"):
        compare_pair(np.zeros((1, 3)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="no question or no seed"):
        compare_pair(np.zeros((1, 0)), np.zeros((1, 0)))


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 0.02)])
def test_equal_methods_are_rarely_told_apart(seeds: int, spread: float) -> None:
    """At the 5 % level, and the interval holds 0 as often; methods differ by their seeds only."""
    draw = np.random.default_rng(3)
    rejected = left_out = 0
    for _ in range(200):
        hardness_Q = draw.beta(0.8, 0.8, size=80)
        groups = []
        for _method in range(2):
            chance_SQ = np.clip(hardness_Q + draw.normal(0, spread, size=(seeds, 1)), 0, 1)
            groups.append(draw.random(chance_SQ.shape) < chance_SQ)
        pair = compare_pair(*groups, resamples=400)
        rejected += pair.p_value <= 0.05
        left_out += not pair.ci_low <= 0 <= pair.ci_high
    assert rejected <= 0.09 * 200
    assert left_out <= 0.09 * 200


@given(P_VALUES)
def test_holm_never_makes_a_test_surer_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert len(adjusted) == len(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1, len(p_values) * p + 1e-12)
    ordered = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert ordered == sorted(ordered)


@given(st.floats(0, 1))
def test_a_single_test_needs_no_correction(p_value: float) -> None:
    assert holm([p_value]) == [p_value]


def test_holm_is_the_published_procedure() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_pairs_are_corrected_as_one_family() -> None:
    draw = np.random.default_rng(0)
    methods = {name: draw.random((2, 60)) < share for name, share in (("x", 0.9), ("y", 0.5), ("z", 0.5))}
    rows = compare_pairs(methods, [("x", "y"), ("x", "z"), ("y", "z")], resamples=500)
    assert [(row["a"], row["b"]) for row in rows] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [row["p_holm"] for row in rows] == holm([row["p_value"] for row in rows])
    assert rows[0]["difference"] == pytest.approx(methods["x"].mean() - methods["y"].mean())
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert compare_pairs(methods, []) == []
