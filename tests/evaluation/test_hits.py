from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.evaluation.hits import hits_curve
from kard_ray.evaluation.scoring import gold_found

IDS = st.lists(st.sampled_from("abcdef"), unique=True)


def test_the_curve_counts_the_first_passage_first() -> None:
    shown = [["a", "b", "c"], ["x", "b", "a"]]
    assert hits_curve(shown, [["a", "b"], ["a", "b"]], k=3) == ([0.5, 1.0, 1.0], [0.0, 0.5, 1.0])


@given(st.lists(st.tuples(IDS, IDS), max_size=8), st.integers(1, 7))
def test_the_curve_never_falls_and_ends_at_hits_at_k(rows: list[tuple[list[str], list[str]]], k: int) -> None:
    shown, gold = [s for s, _ in rows], [g for _, g in rows]
    curves = hits_curve(shown, gold, k=k)
    if not any(gold):
        assert curves == (None, None)
        return
    hits, complete = curves
    assert hits is not None
    assert complete is not None
    assert (hits[-1], complete[-1]) == gold_found(shown, gold, k=k)
    for curve in (hits, complete):
        assert len(curve) == k
        assert curve == sorted(curve)


def test_without_passages_or_gold_there_is_no_curve() -> None:
    assert hits_curve([["a"]], [["a"]], k=0) == (None, None)
    assert hits_curve([["a"]], [[]], k=2) == (None, None)
    assert hits_curve([], [], k=2) == (None, None)
