"""Keep of a rationale what argues for the right answer, and nothing that weighs the other options.

Teachers that see options discuss each of them ("Option (B) is incorrect because ..."). A large student learns from
that; one of 135M parameters loses the thread and ends on an option that it has just called wrong. So of each rationale
the few sentences are kept that name the right option.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kard_ray.teacher.conclusions import reasoning
from kard_ray.teacher.focus import sentences

# A sentence about the question itself, or one that names options or says which of them is right or wrong.
_ABOUT_THE_QUESTION = re.compile(r"^(?:this|the) question\b", re.IGNORECASE)
_WEIGHS = re.compile(
    r"\boptions?\b|\bchoices?\b|\([A-J]\)|\bother answers?\b|\b(?:in)?correct(?:ly)?\b|\bthe answer\b|\beliminated?\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z0-9]+")
_COMMON = frozenset(
    _WORD.findall(
        "a an and are as at be by can do does for from has have in is it its not of on or that the their there they "
        "this to was were when which will with"
    )
)
# A shorter sentence is kept with the one before it, which usually says what it follows from.
_ENOUGH_WORDS = 18


def supporting_sentences(rationale: str, options: Sequence[str], answer: int, *, limit: int) -> str:
    """At most ``limit`` sentences of ``rationale``, the last of them the one that names most of option ``answer``.

    Left out are the conclusion, sentences about the question or its options, and sentences that name more of a wrong
    option than of the right one: where nothing else was written, the result is empty. Where no sentence names an
    option at all (yes or no, or an open question), the last ones stay.
    """
    gold = _words(options[answer]) if options else set()
    wrong = [_words(option) - gold for at, option in enumerate(options) if at != answer]
    kept = [
        sentence
        for sentence in sentences(" ".join(reasoning(rationale).split()))
        if sentence and not (_ABOUT_THE_QUESTION.match(sentence) or _WEIGHS.search(sentence))
    ]
    words = [_words(sentence) for sentence in kept]
    named = [len(gold & found) - max((len(other & found) for other in wrong), default=0) for found in words]
    best = max(range(len(kept)), key=lambda at: (named[at], at), default=None)
    if best is None or (named[best] < 0):
        return ""
    first = best
    while (
        first > 0
        and best - first + 1 < limit
        and len(" ".join(kept[first : best + 1]).split()) < _ENOUGH_WORDS
    ):
        if named[first - 1] < 0:
            break
        first -= 1
    return " ".join(kept[first : best + 1])


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _COMMON
