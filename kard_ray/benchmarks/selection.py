"""Which questions of a benchmark a run uses: so many of each split, and train kinds in the shares asked for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import Field

from kard_ray.benchmarks.question import Question, Split
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError


class SelectionConfig(Frozen):
    """How many questions of the benchmark the run uses, in an order fixed by their ids; null: all."""

    train: int | None = Field(None, ge=1)
    dev: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    # Relative shares of kinds among the train questions ({compare: 2, choice: 1}: no other kind); empty: as they come.
    # A weak teacher fails more often on some kinds, which would then be rare among the kept rationales.
    train_shares: dict[str, float] = {}


def select(questions: Sequence[Question], split: Split, config: SelectionConfig) -> list[Question]:
    """The questions of ``split`` to use.

    A smaller number takes a subset of what a larger one takes. Raises UserError for a share that is not above zero or
    names a kind that the split does not have.
    """
    rows = [q for q in questions if q.split == split]
    rows.sort(key=lambda q: hashlib.sha256(q.question_id.encode()).digest())
    if split == "train" and config.train_shares:
        rows = _mixed(rows, config.train_shares)
    return rows[: getattr(config, split)]


def _mixed(rows: Sequence[Question], shares: Mapping[str, float]) -> list[Question]:
    """``rows`` of the named kinds, ordered so that every beginning has about the shares, as long as rows last."""
    kinds = {q.kind for q in rows}
    for kind, share in shares.items():
        if kind not in kinds or not share > 0:
            raise UserError(
                f"recipe field questions.train_shares: got {kind!r}: {share}; expected a share above zero for one of "
                f"the train questions' kinds: {', '.join(sorted(kinds))}."
            )
    seen: Counter[str] = Counter()
    turns = []
    for q in rows:
        if q.kind in shares:
            turns.append(((seen[q.kind] + 0.5) / shares[q.kind], q.kind, q))
            seen[q.kind] += 1
    turns.sort(key=lambda turn: turn[:2])
    return [q for _, _, q in turns]
