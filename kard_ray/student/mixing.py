"""A mixed objective: what a small student needs beside rationales and the passages that they find.

KARD's student learns to write rationales from passages that bear them out. At test it reads what the question finds,
and a rationale that goes astray takes the answer with it. So a part of its rows may read what the question finds, and a
part of the loss may be for answering at once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from kard_ray.student.methods.base import Evidence, Example, Given

ANSWER_CUE = "Answer:"  # what the prompt of a row that answers at once ends with


def with_found(
    items: Sequence[Evidence], found: Sequence[tuple[str, str]], share: float, name: str
) -> list[Evidence]:
    """``items``, each with probability ``share`` with what the question ``found`` in place of its silver passages.

    The draw depends on ``name`` and on the item's place. A question that found nothing keeps its silver passages.
    """
    return [
        replace(item, silver=found)
        if found and random.Random(f"{name}:{at}:found").random() < share
        else item
        for at, item in enumerate(items)
    ]


def with_answers(rows: Sequence[Example], given: Given, weight: float) -> list[Example]:
    """``rows`` of one question, and one more in the last stage that answers at once from what the last of them reads.

    The loss is divided between the two tasks: (1 - weight) for rationales, ``weight`` for answers.
    """
    if not rows:
        return []
    last = max(rows, key=lambda row: row.stage)
    answer = replace(last, target=given.conclusion, cue=ANSWER_CUE, task="answer", weight=weight)
    return [*(replace(row, weight=row.weight * (1.0 - weight)) for row in rows), answer]
