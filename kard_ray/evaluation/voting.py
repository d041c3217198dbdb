"""The majority of several samples' answers (self-consistency, Wang et al. 2022; KARD's generate_predict.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def majority(answers: Sequence[Hashable | None]) -> tuple[int, float] | None:
    """(place of the first sample with the winning answer, share of the votes that it got); None when nobody votes.

    None, an unreadable text, does not vote. Among answers with as many votes the first seen wins.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return None
    winner, count = votes.most_common(1)[0]  # Counter keeps the order of insertion among equals
    return answers.index(winner), count / votes.total()
