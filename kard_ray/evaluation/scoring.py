"""Accuracy with its interval, and how well retrieval found the gold passages."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def wilson_interval(correct: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """95 % score interval (Wilson 1927) of a proportion; (0, 1) when n is 0.

    Unlike the normal interval it stays inside [0, 1] and keeps its coverage for small n and extreme shares.
    """
    if n == 0:
        return 0.0, 1.0
    share = correct / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def gold_found(
    retrieved: Sequence[Sequence[str]], gold: Sequence[Collection[str]], *, k: int
) -> tuple[float | None, float | None]:
    """(Hits@k, all-gold@k): shares of questions with at least one, and with all, gold passages among the first k.

    Questions without gold passages are left out; (None, None) when none has any.
    """
    pairs = [(set(found[:k]), set(wanted)) for found, wanted in zip(retrieved, gold, strict=True) if wanted]
    if not pairs:
        return None, None
    hits = sum(bool(found & wanted) for found, wanted in pairs) / len(pairs)
    complete = sum(wanted <= found for found, wanted in pairs) / len(pairs)
    return hits, complete
