"""What one token may ask: so many requests a minute, and so many at once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kard_ray.serving.errors import ServiceError

_BURST = 0.1  # of a minute's requests may come at once, after a pause


@dataclass(slots=True)
class _Use:
    left: float  # requests that may come now
    at: float  # when that was so, in seconds
    open: int = 0


@dataclass(kw_only=True, slots=True)
class TokenLimits:
    """Token buckets by name. One process counts for itself."""

    uses: dict[str, _Use] = field(default_factory=dict)

    def take(self, name: str, per_minute: int, *, beside: int = 0, now: float | None = None) -> None:
        """Count a request of ``name``; raises ServiceError 429, with the time to wait, if it is one too many.

        ``beside``: instead, count that many questions of a batch beside the request itself, which is counted already.
        The bucket holds a tenth of a minute's requests and at least ten. A batch may take more than is in it, and is
        paid for by waiting longer afterwards.
        """
        now = time.monotonic() if now is None else now
        size = max(10.0, per_minute * _BURST)
        use = self.uses.setdefault(name, _Use(left=size, at=now))
        use.left = min(size, use.left + (now - use.at) * per_minute / 60)
        use.at = now
        if not beside and use.left < 1:
            wait = math.ceil((1.0 - use.left) * 60 / per_minute)
            raise ServiceError(
                429, "rate_limited", f"this token may ask {per_minute} times a minute.", None, max(1, wait)
            )
        use.left -= beside or 1

    @contextmanager
    def open(self, name: str, at_once: int) -> Iterator[None]:
        """One request of ``name`` is open inside; raises ServiceError 429 when there are too many."""
        use = self.uses.setdefault(name, _Use(left=math.inf, at=time.monotonic()))
        if use.open >= at_once:
            raise ServiceError(
                429, "too_many_at_once", f"this token may have {at_once} requests open at once.", None, 1
            )
        use.open += 1
        try:
            yield
        finally:
            use.open -= 1
