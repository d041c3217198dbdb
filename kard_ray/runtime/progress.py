"""Progress of long work: a bar in a terminal, a line now and then in a job's log, always with a rate.

The same numbers go to Ray's Prometheus endpoint when this process is connected to Ray:
``ray_kard_ray_rows_total``, ``ray_kard_ray_failed_rows_total`` and ``ray_kard_ray_generated_tokens_total``, with the
stage in the label ``stage``.
"""

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
        self._tokens = self._failures = 0
        self._printed = time.monotonic()
        self._first: float | None = None  # when the first rows came: an engine's start is no part of its rate
        self._first_count, self._first_tokens = done, 0
        self._metrics = _Metrics(label)
        self._bar = (
            tqdm(total=total, initial=done, desc=label, unit=f" {unit}", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def advance(self, count: int, *, failures: int = 0, tokens: int = 0, seconds: float = 0.0) -> None:
        """``count`` more are finished, ``failures`` of them with an error; ``tokens`` were generated for them.

        ``seconds`` is how long they took, if known: the rate counts from then, else from the first rows' end.
        """
        self._count += count
        self._failures += failures
        self._tokens += tokens
        if self._first is None:
            self._first = time.monotonic() - seconds
            if seconds == 0.0:
                self._first_count, self._first_tokens = self._count, self._tokens
        self._metrics.add(count, failures, tokens)
        if self._bar is not None:
            self._bar.update(count)
            if self._tokens or self._failures:
                self._bar.set_postfix_str(self._details())
        elif time.monotonic() - self._printed >= _LOG_SECONDS:
            self._print()

    def _rate(self, count: int, first: int) -> float:
        """So many a second since the first rows; 0 while there are no others."""
        seconds = time.monotonic() - self._first if self._first is not None else 0.0
        return (count - first) / seconds if seconds > 0 else 0.0

    def tokens_per_second(self, shortest: float) -> float | None:
        """Generated tokens a second since the first rows; None for less than ``shortest`` seconds."""
        if self._first is None or time.monotonic() - self._first < shortest:
            return None
        return self._rate(self._tokens, self._first_tokens) or None

    def _details(self) -> str:
        """Tokens per second and failures, as far as there are any."""
        told = []
        if rate := self._rate(self._tokens, self._first_tokens):
            told.append(f"{rate:.0f} tokens/s")
        if self._failures:
            told.append(f"{self._failures} failed")
        return ", ".join(told)

    def _print(self) -> None:
        self._printed = time.monotonic()
        rate = self._rate(self._count, self._first_count)
        left = self._total - self._count
        told = [
            f"{self._label}: {self._count}/{self._total} {self._unit}",
            f"{rate:.1f} {self._unit}/s" if rate else "",
            self._details(),
            f"about {left / rate:.0f} s left" if rate and left > 0 else "",
        ]
        print(", ".join(filter(None, told)), file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._count > self._start_count:
            self._print()


class _Metrics:
    """Counters of Ray's metrics; none without Ray."""

    def __init__(self, stage: str) -> None:
        import ray

        self._stage = {"stage": stage}
        self._counters = []
        if ray.is_initialized():
            from ray.util.metrics import Counter

            for name, told in (
                ("kard_ray_rows_total", "Rows of a stage that are finished, failed ones too."),
                ("kard_ray_failed_rows_total", "Rows of a stage that ended in an error."),
                ("kard_ray_generated_tokens_total", "Tokens that a stage had generated."),
            ):
                self._counters.append(Counter(name, description=told, tag_keys=("stage",)))

    def add(self, *amounts: int) -> None:
        for counter, amount in zip(self._counters, amounts, strict=False):
            if amount:
                counter.inc(amount, tags=self._stage)
