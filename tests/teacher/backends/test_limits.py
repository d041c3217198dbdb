from __future__ import annotations

import asyncio
import pickle
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.backends.base import Reply
from kard_ray.teacher.backends.limits import Backoff, Budget, BudgetReachedError, Pause, Rate

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@given(
    st.integers(1, 10_000), st.floats(0.001, 100), st.floats(0.001, 1000), st.randoms(use_true_random=False)
)
def test_a_back_off_is_never_longer_than_its_range(failures, base, most, rng):
    delay = Backoff(base=base, most=most).delay(failures, rng)
    assert 0 <= delay <= most
    assert delay <= base * 2.0 ** min(failures, 60)


def test_back_off_uses_its_whole_range_and_doubles_it():
    backoff, rng = Backoff(base=1.0, most=60.0), random.Random(0)
    for failures, most in ((1, 1), (2, 2), (3, 4), (7, 60), (500, 60)):
        delays = [backoff.delay(failures, rng) for _ in range(2000)]
        assert min(delays) < 0.05 * most
        assert 0.95 * most < max(delays) <= most


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}, 30),
        ({"retry-after": format_datetime(NOW - timedelta(days=1), usegmt=True)}, 0),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:05 -0000"}, 5),
        ({"retry-after": "86400"}, 300),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_a_wait_is_read_from_seconds_milliseconds_and_dates_and_capped(headers, seconds):
    assert Backoff().asked_for(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=60))
def test_no_header_breaks_the_reader_of_waits(value):
    wait = Backoff().asked_for({"retry-after": value}, NOW)
    assert wait is None or 0 <= wait <= 300


def test_a_rate_lets_a_seconds_worth_pass_and_then_keeps_time():
    async def run() -> float:
        rate = Rate(1200)  # 20 in a second
        started = time.monotonic()
        await asyncio.gather(*(rate.take(1) for _ in range(30)))
        return time.monotonic() - started

    assert 0.45 < asyncio.run(run()) < 15


def test_no_rate_never_waits():
    async def run() -> float:
        started = time.monotonic()
        await Rate(None).take(10**9)
        return time.monotonic() - started

    assert asyncio.run(run()) < 0.1


def test_an_amount_above_a_seconds_worth_waits_and_is_not_overtaken():
    async def run() -> tuple[float, list[str]]:
        rate, order = Rate(6000), []  # 100 in a second

        async def take(name: str, amount: int) -> None:
            await rate.take(amount)
            order.append(name)

        started = time.monotonic()
        await asyncio.gather(take("large", 140), take("small", 1))
        return time.monotonic() - started, order

    seconds, order = asyncio.run(run())
    assert order == ["large", "small"]
    assert 0.35 < seconds < 15


def test_what_is_given_back_is_free_for_the_next_and_a_debt_is_paid():
    async def run() -> tuple[float, float]:
        rate = Rate(6000)
        await rate.take(100)
        rate.give_back(90)
        started = time.monotonic()
        await rate.take(90)
        free = time.monotonic() - started
        rate.give_back(-30)
        started = time.monotonic()
        await rate.take(10)
        return free, time.monotonic() - started

    free, paid = asyncio.run(run())
    assert free < 0.3
    assert 0.3 < paid < 15


def test_a_pause_holds_all_and_the_longest_one_stands():
    async def run() -> list[float]:
        pause, started = Pause(0.05, random.Random(0)), time.monotonic()
        pause.hold(0.3)
        pause.hold(0.1)

        async def wait() -> float:
            await pause.wait()
            return time.monotonic() - started

        return list(await asyncio.gather(*(wait() for _ in range(5))))

    assert all(0.3 <= seconds < 10 for seconds in asyncio.run(run()))


@given(
    st.integers(1, 3000),
    st.integers(0, 500),
    st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1)), max_size=40),
)
def test_a_budget_is_never_passed_when_requests_cost_no_more_than_they_reserved(limit, spent, requests):
    async def run() -> tuple[Budget, list[int], list[int]]:
        budget, paid, refused = Budget(limit, spent), [], []

        async def one(most: int, share: float) -> None:
            try:
                await budget.reserve(most)
            except BudgetReachedError:
                refused.append(most)
                return
            await asyncio.sleep(0)
            budget.settle(most, int(most * share))
            paid.append(int(most * share))

        await asyncio.gather(*(one(*request) for request in requests))
        return budget, paid, refused

    budget, paid, refused = asyncio.run(run())
    assert budget.spent == spent + sum(paid)
    assert budget.spent <= max(limit, spent)
    assert len(paid) + len(refused) == len(requests)
    # A request is only refused when it truly did not fit; what is spent never shrinks.
    assert all(budget.spent + most > limit for most in refused)


def test_a_request_waits_for_reservations_that_may_turn_out_smaller():
    async def run() -> list[str]:
        budget, order = Budget(100, 0), []
        await budget.reserve(80)

        async def second() -> None:
            await budget.reserve(80)
            order.append("second")

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.01)
        order.append("first settles")
        budget.settle(80, 10)
        await waiting
        return order

    assert asyncio.run(run()) == ["first settles", "second"]


def test_the_error_of_a_reached_budget_travels_between_processes_with_its_replies():
    reply = Reply(
        question_id="q",
        sample=0,
        text="a",
        prompt_tokens=1,
        generated_tokens=1,
        finish_reason="stop",
        error="",
    )
    copied = pickle.loads(pickle.dumps(BudgetReachedError("Reached.", [reply])))
    assert (str(copied), copied.replies) == ("Reached.", (reply,))


def test_a_reply_cannot_hold_a_text_and_an_error():
    with pytest.raises(ValueError, match="never both"):
        Reply(
            question_id="q",
            sample=0,
            text="a",
            prompt_tokens=0,
            generated_tokens=0,
            finish_reason="",
            error="b",
        )
