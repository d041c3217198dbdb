from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.training.held_out import is_held_out


@given(st.floats(0, 1), st.integers(0, 3))
def test_a_question_is_held_out_by_its_hash_and_a_larger_share_holds_out_more(
    share: float, seed: int
) -> None:
    held = {at for at in range(20) if is_held_out(f"q{at}", share, seed)}
    more = {at for at in range(20) if is_held_out(f"q{at}", min(1.0, share + 0.2), seed)}
    assert held <= more


def test_about_the_share_is_held_out() -> None:
    count = sum(is_held_out(f"question {at}", 0.2, 42) for at in range(5000))
    assert 900 < count < 1100
