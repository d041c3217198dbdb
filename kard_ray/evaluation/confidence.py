"""How probable a student held the answer that it wrote."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from kard_ray.benchmarks.reading import answer_span


def written_confidence(
    text: str, tokens: Sequence[int], log_probs: Sequence[float], tokenizer: Any, *, before: str = ""
) -> float | None:
    """exp of the sum of ``log_probs`` (nats) of those ``tokens`` that write the answer; None when they are not known.

    These are the tokens of the line behind the last "answer is" of ``text``, else all of them. ``before`` are words
    that the prompt held already and that ``text`` goes on from, such as "So the answer is". A token that writes both
    the end of "answer is" and the beginning of the answer counts. ``text`` may be shorter than what the tokens write:
    a stop string and what stands behind it are no part of it.
    """
    if not log_probs:
        return None
    written = text.strip()
    lead = f"{before} " if before else ""
    span = answer_span(lead + written)
    # One engine keeps the first token's space, another one does not
    at = _decode(tokenizer, tokens).find(written)
    if span is None or at < 0:
        return math.exp(math.fsum(log_probs))
    begin, end = (max(0, place - len(lead)) + at for place in span)

    def characters(count: int) -> int:
        """How many the first ``count`` tokens write."""
        return len(_decode(tokenizer, tokens[:count]))

    first = bisect_right(range(len(tokens) + 1), begin, key=characters) - 1
    last = bisect_left(range(len(tokens) + 1), end, key=characters)
    return math.exp(math.fsum(log_probs[first:last]))


def _decode(tokenizer: Any, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))
