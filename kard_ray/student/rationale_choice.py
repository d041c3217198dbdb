"""Which of a question's kept rationales a student learns from, where there are more than it takes.

KARD takes any l of them. A small student is better off with rationales that it can follow: short ones, or ones whose
words stand in the passages that it reads beside them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Literal

from kard_ray.student.methods.base import Evidence

Choice = Literal["random", "shortest", "supported"]

_WORD = re.compile(r"\w+")


def ordered(items: Sequence[Evidence], choice: Choice, *, seed: int, question_id: str) -> list[Evidence]:
    """``items``, the first to be taken first; what ties is in an order drawn from ``seed`` and ``question_id``.

    "shortest": fewest words. "supported": the largest share of its words in its own silver passages, of equal shares
    the shortest. Those with symbolic knowledge come before those without, whatever the choice.
    """
    drawn = list(items)
    random.Random(f"{seed}:{question_id}").shuffle(drawn)
    return sorted(drawn, key=lambda item: (not item.help, *_KEYS[choice](item)))


def _shortest(item: Evidence) -> tuple[float, ...]:
    return (len(_WORD.findall(item.rationale)),)


def _supported(item: Evidence) -> tuple[float, ...]:
    words = {word.lower() for word in _WORD.findall(item.rationale)}
    shown = {word.lower() for title, text in item.silver for word in _WORD.findall(f"{title} {text}")}
    return (-len(words & shown) / max(1, len(words)), *_shortest(item))


_KEYS: dict[Choice, Callable[[Evidence], tuple[float, ...]]] = {
    "random": lambda _: (),
    "shortest": _shortest,
    "supported": _supported,
}
