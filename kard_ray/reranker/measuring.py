"""How well a reranker ranks the candidates of held-out questions.

- ``hits@k``: the share of rationales with a silver passage (the three best by the rationale) among the first k of what
  the question found, reranked as at use. What the question did not find cannot be ranked, and counts as missed.
- ``ndcg``: nDCG@10 over all candidates, a candidate's gain being its score by the rationale.
- ``loss``: the mean loss over all candidates, at the last temperatures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from kard_ray.reranker.candidate_sets import CandidateSets
from kard_ray.reranker.candidates import SILVER
from kard_ray.reranker.model import Reranker

KS = (1, 3, 10)
NDCG_DEPTH = 10
METRICS = (*(f"hits@{k}" for k in KS), "ndcg", "loss")
_ROWS = 16  # questions that are scored together


def hits(ranked: Sequence[int], silver: Sequence[int]) -> list[float]:
    """For each of ``KS`` 1 if one of ``silver`` is among the first k of ``ranked``, else 0."""
    wanted = set(silver)
    return [float(any(at in wanted for at in ranked[:k])) for k in KS]


def ndcg(gains: np.ndarray) -> float:
    """nDCG@10 of gains in ranked order (Järvelin and Kekäläinen 2002): the gain itself, discounted by log2(place + 1).

    Gains below 0 count as 0; without any gain it is 0.
    """
    gains = np.maximum(gains.astype(np.float64), 0)
    discounts = 1 / np.log2(np.arange(2, NDCG_DEPTH + 2))
    best = np.sort(gains)[::-1][:NDCG_DEPTH]
    ideal = float(best @ discounts[: len(best)])
    found = gains[:NDCG_DEPTH]
    return float(found @ discounts[: len(found)]) / ideal if ideal else 0.0


def first_stage(sets: CandidateSets) -> dict[str, float]:
    """Hits of the order in which the questions found their candidates, and the share with a silver passage at all."""
    found = []
    for row in range(len(sets)):
        all_ = sets.candidates(row)
        places = sets.places(all_)
        order = [all_[at] for at in np.argsort(places, kind="stable") if places[at] >= 0]
        reached = float(any(at in order for at in all_[:SILVER]))
        found.append([*hits(order, all_[:SILVER]), reached])
    names = [*(f"hits@{k}" for k in KS), "reached"]
    return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))


def measure(
    reranker: Reranker,
    sets: CandidateSets,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    batch_tokens: int,
    rank: int = 0,
    world: int = 1,
) -> dict[str, float]:
    """METRICS over all sets; each of ``world`` workers scores its part of them, and all get the same figures.

    ``loss`` is of ``[1, C]`` scores, scores by the rationale and mask. The reranker is in training again afterwards if
    it was before.
    """
    training = reranker.training
    reranker.eval()
    sums = np.zeros(len(METRICS))
    mine = range(rank, len(sets), world)
    for at in range(0, len(mine), _ROWS):
        rows = mine[at : at + _ROWS]
        texts = [sets.texts(sets.candidates(row)) for row in rows]
        found = reranker.score([sets.questions[row] for row in rows], texts, batch_tokens=batch_tokens)
        for row, scores in zip(rows, found, strict=True):
            sums += _of_set(sets, row, scores, loss)
    reranker.train(training)
    total = torch.from_numpy(sums)
    if world > 1:
        total = total.to(reranker.encoder.device)
        dist.all_reduce(total)
    return dict(zip(METRICS, (total / max(1, len(sets))).tolist(), strict=True))


def _of_set(
    sets: CandidateSets, row: int, scores: np.ndarray, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> np.ndarray:
    all_ = sets.candidates(row)
    # Candidates stand in the order of the rationale's scores: equal scores must not keep it.
    order = np.lexsort((sets.passages(all_), -scores))
    places, by_rationale = sets.places(all_), sets.scores(all_)
    at_use = [all_[at] for at in order if places[at] >= 0]
    mine, its = torch.from_numpy(scores)[None], torch.from_numpy(by_rationale)[None]
    value = float(loss(mine, its, torch.ones_like(mine, dtype=torch.bool)))
    return np.array([*hits(at_use, all_[:SILVER]), ndcg(by_rationale[order]), value])
