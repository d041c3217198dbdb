"""In which order rows are trained on, and which worker takes which: the same after every resume."""

from __future__ import annotations

import random
from collections.abc import Sequence

_POOL_BATCHES = 50  # sorted by length together: so many that they pad little, so few that order stays random


def plan_batches(
    lengths: Sequence[int], *, batch_size: int, epochs: float, seed: int | str
) -> list[list[int]]:
    """Row numbers of every optimizer step of the whole training.

    Each epoch is a new shuffle; pools of 50 batches are sorted by length and cut, and the batches of a pool are
    shuffled again. Every row occurs once per epoch; a part epoch (``epochs`` 2.5) ends after that share of its steps.
    """
    steps: list[list[int]] = []
    per_epoch = -(-len(lengths) // batch_size)
    for epoch in range(int(-(-epochs // 1))):
        order = list(range(len(lengths)))
        rng = random.Random(f"{seed}:{epoch}")
        rng.shuffle(order)
        pool_rows = _POOL_BATCHES * batch_size
        for at in range(0, len(order), pool_rows):
            pool = sorted(order[at : at + pool_rows], key=lambda row: lengths[row])
            batches = [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
            rng.shuffle(batches)
            steps += batches
    return steps[: max(1, round(per_epoch * epochs))]


def micro_batches(rows: Sequence[int], *, rank: int, world: int, size: int) -> list[list[int]]:
    """One worker's share of one step, in equally many micro-batches on every worker (some may be empty)."""
    share = -(-len(rows) // world)
    count = -(-share // size)
    mine = list(rows[rank::world])
    return [mine[i * size : (i + 1) * size] for i in range(count)]
