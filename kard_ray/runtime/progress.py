"""Progress of long work: a bar in a terminal, a line now and then in a job's log, always with a rate."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

_LOG_SECONDS = 15.0


class Progress:
    """Counts finished rows (or steps) of a stage; use as a context manager."""

    def __init__(self, label: str, *, total: int, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._start_count = self._count = done
        self._started = self._printed = time.monotonic()
        self._bar = (
            tqdm(total=total, initial=done, desc=label, unit=f" {unit}", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def advance(self, count: int) -> None:
        """``count`` more are finished."""
        self._count += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._printed >= _LOG_SECONDS:
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        self._printed = now
        rate = (self._count - self._start_count) / max(now - self._started, 1e-9)
        left = (self._total - self._count) / rate if rate > 0 else float("inf")
        estimate = f", about {left:.0f} s left" if 0 < left < float("inf") else ""
        print(
            f"{self._label}: {self._count}/{self._total} {self._unit}, {rate:.1f} {self._unit}/s{estimate}",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._count > self._start_count:
            self._print()
