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
        self._started = self._printed = time.monotonic()
        self._metrics = _Metrics(label)
        self._bar = (
            tqdm(total=total, initial=done, desc=label, unit=f" {unit}", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def advance(self, count: int, *, failures: int = 0, tokens: int = 0) -> None:
        """``count`` more are finished, ``failures`` of them with an error; ``tokens`` were generated for them."""
        self._count += count
        self._failures += failures
        self._tokens += tokens
        self._metrics.add(count, failures, tokens)
        if self._bar is not None:
            self._bar.update(count)
            if self._tokens or self._failures:
                self._bar.set_postfix_str(self._details(time.monotonic()))
        elif time.monotonic() - self._printed >= _LOG_SECONDS:
            self._print()

    def _details(self, now: float) -> str:
        """Tokens per second and failures, as far as there are any."""
        told = []
        if self._tokens:
            told.append(f"{self._tokens / max(now - self._started, 1e-9):.0f} tokens/s")
        if self._failures:
            told.append(f"{self._failures} failed")
        return ", ".join(told)

    def _print(self) -> None:
        now = time.monotonic()
        self._printed = now
        rate = (self._count - self._start_count) / max(now - self._started, 1e-9)
        left = (self._total - self._count) / rate if rate > 0 else float("inf")
        estimate = f"about {left:.0f} s left" if 0 < left < float("inf") else ""
        told = [
            f"{self._label}: {self._count}/{self._total} {self._unit}",
            f"{rate:.1f} {self._unit}/s",
            self._details(now),
            estimate,
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
