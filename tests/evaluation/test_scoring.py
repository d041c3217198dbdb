from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.evaluation.scoring import gold_found, wilson_interval


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3 (score without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # by symmetry
        (20, 20, 0.8389, 1.0),
        (182, 263, 0.6338, 0.7447),
    ],
)
def test_the_interval_is_the_published_one(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_lies_in_its_interval_and_the_interval_in_0_to_1(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low - 1e-12 <= correct / n <= high + 1e-12
        mirrored = wilson_interval(n - correct, n)
        assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)
    else:
        assert (low, high) == (0, 1)


def test_more_questions_make_a_narrower_interval() -> None:
    widths = [high - low for low, high in (wilson_interval(n // 2, n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("p", "n"), [(0.05, 40), (0.5, 25), (0.9, 300)])
def test_the_interval_holds_the_true_share_about_95_times_in_100(p: float, n: int) -> None:
    chance = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    covered = sum(
        chance[c] for c in range(n + 1) if wilson_interval(c, n)[0] <= p <= wilson_interval(c, n)[1]
    )
    assert 0.92 <= covered <= 0.99


def test_hits_need_one_and_complete_needs_all_gold_passages_among_the_first_k() -> None:
    retrieved = [["a", "b", "c"], ["x", "a"], ["c", "x", "a", "b"], [], ["z"]]
    gold = [["a", "b"], ["a", "b"], ["a", "b"], ["a"], []]
    assert gold_found(retrieved, gold, k=2) == (2 / 4, 1 / 4)
    assert gold_found(retrieved, gold, k=4) == (3 / 4, 2 / 4)
    assert gold_found(retrieved, gold, k=1) == (1 / 4, 0.0)


def test_without_gold_passages_there_is_nothing_to_tell() -> None:
    assert gold_found([["a"], []], [[], []], k=3) == (None, None)
    assert gold_found([], [], k=3) == (None, None)


IDS = st.lists(st.sampled_from("abcdef"), unique=True)


@given(st.lists(st.tuples(IDS, IDS), max_size=8), st.integers(1, 6), st.randoms(use_true_random=False))
def test_hits_grow_with_k_and_are_never_fewer_than_complete_ones(
    rows: list[tuple[list[str], list[str]]], k: int, rng: random.Random
) -> None:
    retrieved, gold = [r for r, _ in rows], [g for _, g in rows]
    hits, complete = gold_found(retrieved, gold, k=k)
    if hits is None or complete is None:
        assert not any(gold)
        return
    assert 0 <= complete <= hits <= 1
    more = gold_found(retrieved, gold, k=k + 1)
    assert more[0] is not None
    assert more[1] is not None
    assert (more[0], more[1]) >= (hits, complete)
    assert gold_found(retrieved, [rng.sample(g, len(g)) for g in gold], k=k) == (hits, complete)
