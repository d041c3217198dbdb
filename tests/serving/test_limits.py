"""What one token may ask."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.serving.errors import ServiceError
from kard_ray.serving.limits import TokenLimits


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    limits = TokenLimits()
    for _ in range(10):
        limits.take("a", 60, now=0.0)
    with pytest.raises(ServiceError, match="60 times a minute") as refused:
        limits.take("a", 60, now=0.0)
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    limits.take("b", 60, now=0.0)  # another token is another matter
    limits.take("a", 60, now=1.0)
    with pytest.raises(ServiceError):
        limits.take("a", 60, now=1.5)


def test_a_batch_is_let_in_and_paid_for_later() -> None:
    limits = TokenLimits()
    limits.take("a", 600, now=0.0)
    limits.take("a", 600, beside=255, now=0.0)
    with pytest.raises(ServiceError) as refused:
        limits.take("a", 600, now=1.0)
    assert refused.value.retry_after == 19  # 256 were taken, 60 were there, 10 a second come back
    limits.take("a", 600, now=20.0)


@pytest.mark.parametrize("more", [1, 2])
def test_a_batch_is_let_in_with_the_last_request_that_was_left(more: int) -> None:
    limits = TokenLimits()
    for _ in range(10):
        limits.take("a", 60, now=0.0)
    limits.take("a", 60, beside=more, now=0.0)
    with pytest.raises(ServiceError):
        limits.take("a", 60, now=0.5)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.integers(1, 1000))
def test_no_more_than_burst_and_rate_are_ever_let_through(pauses: list[float], per_minute: int) -> None:
    limits, now, taken = TokenLimits(), 0.0, 0
    for pause in pauses:
        now += pause
        with suppress(ServiceError):
            limits.take("a", per_minute, now=now)
            taken += 1
    assert taken <= max(10, per_minute / 10) + now * per_minute / 60 + 1e-6


def test_so_many_at_once_and_no_more() -> None:
    limits = TokenLimits()
    with limits.open("a", 2), limits.open("a", 2):
        with pytest.raises(ServiceError, match="2 requests open") as refused, limits.open("a", 2):
            pass
        assert refused.value.code == "too_many_at_once"
        with limits.open("b", 2):
            pass
    with limits.open("a", 2):
        limits.take("a", 600)
