"""Nearest vectors of a set among its own distinct items: exact, and in bounded memory.

N items, C candidates (one per distinct group of items), D dimensions, B rows of a block, W candidates of a run,
P pairs of an item and a candidate that may be near.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK_SCORES = 16_000_000  # cosines in memory at once, 4 bytes each: 160 rows of 100,000 candidates
_PAIRS = 16_384  # compared again in float64 at once: 100 MB with 384 dimensions
_MARGIN = 1e-4  # a matrix product in float32 is off by less; what lies this near to the cut is compared again


def nearest_others(vectors_ND: np.ndarray, group_N: np.ndarray, order_N: np.ndarray, k: int) -> np.ndarray:
    """``[N, k]`` positions of the nearest other items by cosine, best first; -1 where there are fewer.

    Items of one group (duplicates) are never each other's neighbours, and only the first of a group in ``order_N`` (a
    rank, different for every item) is a neighbour at all. Cosines are equal when they agree to 9 decimals; ties go by
    ``order_N``. A vector of zeros has cosine 0 to every other. A rough pass in float32 finds candidates and float64
    orders them: neither the size of blocks nor the order of the items shows. Raises ValueError for a vector that is
    not finite.
    """
    length_N = _lengths(vectors_ND)
    by_rank = np.argsort(order_N, kind="stable")
    groups, first = np.unique(group_N[by_rank], return_index=True)
    # Ascending in rank: of two candidates the first comes first in a tie.
    items_C = by_rank[np.sort(first)]
    found_NK = np.full((len(vectors_ND), k), -1, np.int64)
    count = min(k, len(items_C) - 1)
    if count < 1:
        return found_NK
    own_G = np.argsort(np.argsort(first))  # the candidate that stands for each group
    own_N = own_G[np.searchsorted(groups, group_N)]
    units_CD = _units(vectors_ND[items_C], length_N[items_C])
    rows = max(1, _BLOCK_SCORES // len(items_C))
    for at in range(0, len(vectors_ND), rows):
        block = slice(at, at + rows)
        owners_P, near_P = _near(_units(vectors_ND[block], length_N[block]), units_CD, own_N[block], count)
        owners_P += at
        cosine_P = _cosines(vectors_ND, length_N, owners_P, items_C[near_P])
        best = np.lexsort((near_P, -cosine_P, owners_P))
        owners_P, near_P = owners_P[best], near_P[best]
        place_P = np.arange(len(owners_P)) - np.searchsorted(owners_P, owners_P)
        kept = place_P < count
        found_NK[owners_P[kept], place_P[kept]] = items_C[near_P[kept]]
    return found_NK


def _near(
    units_BD: np.ndarray, units_CD: np.ndarray, own_B: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, candidates) of all pairs that can be among the ``count`` best of their row, and a few more.

    The ``count``-th best of the maxima of runs of candidates is at most the ``count``-th best cosine: a cut that needs
    no sorting of all candidates.
    """
    size = len(units_CD)
    width = min(max(1, size // (4 * count)), 64)
    runs = -(-size // width)
    scores_BC = np.full((len(units_BD), runs * width), -np.inf, np.float32)
    np.matmul(units_BD, units_CD.T, out=scores_BC[:, :size])
    scores_BC[np.arange(len(units_BD)), own_B] = -np.inf
    best_BW = scores_BC.reshape(len(units_BD), runs, width).max(axis=2)
    cut_B = np.partition(best_BW, runs - count, axis=1)[:, runs - count]
    cut_B = np.maximum(cut_B - _MARGIN, -2.0)  # below every cosine, and above what was left out
    owners_P, near_P = np.nonzero(scores_BC >= cut_B[:, None])
    return owners_P, near_P


def _cosines(
    vectors_ND: np.ndarray, length_N: np.ndarray, one_P: np.ndarray, other_P: np.ndarray
) -> np.ndarray:
    """Cosine of each pair of items in float64, to 9 decimals; equal vectors give equal numbers, wherever they stand."""
    cosine_P = np.empty(len(one_P))
    for part in _parts(len(one_P)):
        product_PD = vectors_ND[one_P[part]].astype(np.float64) * vectors_ND[other_P[part]]
        cosine_P[part] = product_PD.sum(axis=1) / (length_N[one_P[part]] * length_N[other_P[part]])
    return np.round(cosine_P, 9)


def _lengths(vectors_ND: np.ndarray) -> np.ndarray:
    """Float64; 1 for a vector of zeros, so that it can be divided by."""
    length_N = np.empty(len(vectors_ND))
    for part in _parts(len(vectors_ND)):
        length_N[part] = np.linalg.norm(vectors_ND[part].astype(np.float64), axis=1)
    if not np.isfinite(length_N).all():
        raise ValueError("a vector holds a number that is not finite")
    return np.where(length_N > 0, length_N, 1.0)


def _units(vectors_ND: np.ndarray, length_N: np.ndarray) -> np.ndarray:
    return (vectors_ND / length_N[:, None].astype(np.float32)).astype(np.float32, copy=False)


def _parts(count: int) -> Iterator[slice]:
    return (slice(at, at + _PAIRS) for at in range(0, count, _PAIRS))
