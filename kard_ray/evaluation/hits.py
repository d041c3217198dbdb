"""How often the passages that a student was shown hold the gold ones, for every number of passages up to k."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kard_ray.evaluation.scoring import gold_found


def hits_curve(
    shown: Sequence[Sequence[str]], gold: Sequence[Collection[str]], *, k: int
) -> tuple[list[float] | None, list[float] | None]:
    """(Hits@1..k, all-gold@1..k) of the passage ids ``shown`` for each question, best first.

    Hits@i is the share of questions with a gold passage among the first i, all-gold@i the share with all of them.
    Questions without gold passages are left out; (None, None) when none has any, or k is 0.
    """
    hits: list[float] = []
    complete: list[float] = []
    for i in range(1, k + 1):
        one, every = gold_found(shown, gold, k=i)
        if one is None or every is None:
            return None, None
        hits.append(one)
        complete.append(every)
    return (hits, complete) if hits else (None, None)
