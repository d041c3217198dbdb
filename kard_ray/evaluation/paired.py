"""Is one method better than another on the same questions? Differences, their intervals, and tests.

Shapes: S seeds, Q questions, the same ones in the same order for both methods.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kard_ray.evaluation.intervals import Floats, matrix, percentiles, resampled_means

MCNEMAR = "exact McNemar"
BOOTSTRAP = "bootstrap over questions and seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """a against b: accuracy(a) - accuracy(b), its 95 % interval, and the two-sided p-value of ``test``."""

    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    n: int  # questions
    test: str


def compare_pair(
    a_SQ: ArrayLike, b_SQ: ArrayLike, *, same_students: bool = False, resamples: int = 10_000, seed: int = 0
) -> Paired:
    """Compare two methods that answered the same questions; their numbers of seeds may differ.

    The interval is the percentile bootstrap of the difference: questions are drawn for both at once, seeds for each
    (seed 1 of one method has nothing in common with seed 1 of the other). ``same_students``: a and b are the very same
    students in the same order, asked in two ways; then seeds are drawn for both at once, too. With one seed each the
    p-value is the exact McNemar test's. Otherwise it is the bootstrap's, twice the smaller share of resamples whose
    difference is at most, or at least, 0: a sign test over questions would take the trained students for the method.
    Raises ValueError when the questions, or the same students, are not as many.
    """
    a, b = matrix(a_SQ), matrix(b_SQ)
    if same_students and len(a) != len(b):
        raise ValueError(f"the same students have {len(a)} and {len(b)} seeds; expected as many")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"methods to compare answered {a.shape[1]} and {b.shape[1]} questions; expected the same ones"
        )
    if not a.size or not b.size:
        raise ValueError("methods to compare have no question or no seed")
    if same_students:
        (differences,) = resampled_means([a - b], resamples=resamples, seed=seed)
    else:
        means_a, means_b = resampled_means([a, b], resamples=resamples, seed=seed)
        differences = means_a - means_b
    # Means of the same number in another order of addition differ in their last bits.
    differences = np.round(differences, 12)
    low, high = percentiles(differences)
    if len(a) == len(b) == 1 and _is_binary(a) and _is_binary(b):
        test = MCNEMAR
        p_value = mcnemar(int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum()))
    else:
        test = BOOTSTRAP
        tail = min((differences <= 0).sum(), (differences >= 0).sum())
        p_value = min(1.0, 2 * (int(tail) + 1) / (resamples + 1))
    return Paired(
        difference=float(a.mean() - b.mean()),
        ci_low=low, ci_high=high, p_value=p_value, n=a.shape[1], test=test,
    )  # fmt: skip


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value (McNemar 1947) of questions that only a, and only b, answered right.

    Under the null each falls to either with equal chance: twice the binomial's smaller tail, at most 1.
    """
    n = only_a + only_b
    # In logarithms: of thousands of questions, 2^n and the binomials are beyond any float.
    logs = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(min(only_a, only_b) + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family of tests, in the given order (Holm 1979).

    All that are at most 0.05 may be claimed together: the chance of a single false one among them is at most 5 %.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def compare_pairs(
    correct: Mapping[str, ArrayLike],
    pairs: Sequence[tuple[str, str]],
    *,
    students: Mapping[str, Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """``pairs`` of names in ``correct`` (seeds x questions each) as one family, as results.json has them.

    ``students`` says which trained students a name stands for: names with equal ones are the same students.
    """
    students = students or {}
    found = [
        compare_pair(
            correct[a],
            correct[b],
            same_students=a in students and students[a] == students.get(b),
            resamples=resamples,
            seed=seed,
        )
        for a, b in pairs
    ]
    corrected = holm([pair.p_value for pair in found])
    return [
        {
            "a": a,
            "b": b,
            "difference": pair.difference,
            "ci_low": pair.ci_low,
            "ci_high": pair.ci_high,
            "p_value": pair.p_value,
            "p_holm": p_holm,
            "n": pair.n,
            "test": pair.test,
        }
        for (a, b), pair, p_holm in zip(pairs, found, corrected, strict=True)
    ]


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0, 1)).all())
