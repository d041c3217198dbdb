"""What holds a request back: rates per minute, a server's wish for quiet, back-off after a failure, the token budget.

All of it belongs to one client in one event loop. Several clients each keep the limits for themselves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from aiolimiter import AsyncLimiter

from kard_ray.teacher.backends.base import Reply


class BudgetReachedError(Exception):
    """The next request could pass the token budget; nothing was sent for the samples that are missing."""

    def __init__(self, message: str, replies: Sequence[Reply] = ()) -> None:
        super().__init__(message)
        self.replies = tuple(replies)  # samples of the same question that were paid for before


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """How long to wait before a request is sent again, in seconds."""

    base: float = 1.0  # the first wait is drawn from 0 to this, each further one from twice the range
    most: float = 60.0  # no range is wider
    longest_wait: float = 300.0  # a server that asks for more (Retry-After) gets this

    def delay(self, failures: int, rng: random.Random) -> float:
        """Wait after the ``failures``-th failure in a row (from 1): full jitter, so that clients do not meet again."""
        return rng.uniform(0.0, min(self.most, self.base * 2.0 ** min(failures - 1, 60)))

    def asked_for(self, headers: Mapping[str, str], now: datetime) -> float | None:
        """The wait that a reply's headers ask for, capped; None when they ask for none or cannot be read.

        ``retry-after-ms`` is in milliseconds, ``retry-after`` in seconds or an HTTP date (RFC 9110, 10.2.3).
        """
        wait = _number(headers.get("retry-after-ms"), 1e-3)
        if wait is None:
            wait = _number(headers.get("retry-after"), 1.0)
        if wait is None:
            wait = _seconds_until(headers.get("retry-after"), now)
        return None if wait is None else min(max(wait, 0.0), self.longest_wait)


def _number(value: str | None, unit: float) -> float | None:
    try:
        number = float(value or "") * unit
    except ValueError:
        return None
    return number if isfinite(number) else None


def _seconds_until(value: str | None, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    if then.tzinfo is None:  # "-0000": a time in UTC
        then = then.replace(tzinfo=UTC)
    return (then - now).total_seconds()


class Rate:
    """At most so much in a minute, spread evenly: a burst is one second's worth, or 1 when that is less.

    First come, first served: a small amount does not overtake a large one.
    """

    def __init__(self, per_minute: int | None) -> None:
        burst = max(1.0, (per_minute or 0) / 60)
        self._limiter = None if per_minute is None else AsyncLimiter(burst, 60 * burst / per_minute)
        self._per_minute = per_minute or 0
        self._turn = asyncio.Lock()
        self._credit = 0.0

    async def take(self, amount: float) -> None:
        """Wait until ``amount`` may be used."""
        if self._limiter is None:
            return
        async with self._turn:
            amount, self._credit = max(0.0, amount - self._credit), max(0.0, self._credit - amount)
            while amount > 0:  # in parts: the limiter refuses more than a burst at once
                part = min(amount, self._limiter.max_rate)
                await self._limiter.acquire(part)
                amount -= part

    def give_back(self, amount: float) -> None:
        """Less was used than taken, by ``amount`` (negative: more); the next ones pay less, or more."""
        # Never more than a minute's worth: what was saved long ago may not come all at once.
        self._credit = min(self._credit + amount, float(self._per_minute))


class Pause:
    """A time in which no request of the client goes out, because the server asked for it."""

    def __init__(self, spread: float, rng: random.Random) -> None:
        self._until = 0.0
        self._spread, self._rng = spread, rng  # seconds over which waiting requests set out again

    def hold(self, seconds: float) -> None:
        """No request for ``seconds`` from now; a longer pause stands."""
        self._until = max(self._until, asyncio.get_running_loop().time() + seconds)

    async def wait(self) -> None:
        """Return when no pause is on."""
        while (left := self._until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left + self._rng.uniform(0.0, self._spread))


class Budget:
    """A cap on tokens, prompt and generated together; a request reserves the most it can cost, and settles after.

    The estimate of a prompt's tokens is the only way past the cap: by its error, times the requests in flight.
    """

    def __init__(self, limit: int | None, spent: int) -> None:
        self.limit, self.spent = limit, spent
        self._reserved = 0
        self._settled = asyncio.Event()

    async def reserve(self, tokens: int) -> None:
        """Set ``tokens`` aside; waits for requests in flight while only their reservations stand in the way.

        Raises BudgetReachedError when the tokens are not left.
        """
        while self.limit is not None and self.spent + self._reserved + tokens > self.limit:
            if self.spent + tokens > self.limit:
                raise BudgetReachedError(
                    f"The token budget is reached: {self.spent:,} of {self.limit:,} tokens are spent, and the next "
                    f"request may cost {tokens:,}; raise teacher.backend.budget_tokens to go on."
                )
            await self._settled.wait()
        self._reserved += tokens

    def settle(self, reserved: int, used: int) -> None:
        """The request that had ``reserved`` tokens set aside cost ``used``."""
        self._reserved -= reserved
        self.spent += used
        self._settled.set()  # wakes those that wait now
        self._settled = asyncio.Event()
