"""Keep of a question's samples only those that say something new.

At a low temperature, or with a strong prompt, a teacher writes nearly the same text twenty times. A student that is
trained on it sees that question twenty times: l rationales per question (KARD, section 3.1) are meant to differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from kard_ray.knowledge.contamination import words
from kard_ray.knowledge.near_duplicates import shingles
from kard_ray.runtime.config import Frozen
from kard_ray.teacher.filters.base import Written


class Duplicates(Frozen):
    """Group filter: drops a sample that repeats an earlier, kept one of its question; the first stays.

    Texts are compared by their words, without case, punctuation and white space.
    """

    name: ClassVar[str] = "duplicates"

    # Jaccard similarity of shingles from which on; null: only equal
    near: float | None = Field(0.8, gt=0, le=1)
    shingle_words: int = Field(3, ge=1)  # words in a row that are compared as one

    def reasons(self, samples: Sequence[Written]) -> list[str | None]:
        """For each of ``samples`` of one question, why to drop it, or None to keep it."""
        found: list[str | None] = []
        said: set[tuple[str, ...]] = set()  # by the samples that are kept
        kept: list[set[bytes]] = []
        for written in samples:
            normal = tuple(words(written.rationale)) or (written.rationale.strip(),)
            reason = "says the same as an earlier sample" if normal in said else None
            if reason is None and self.near is not None:
                mine = shingles(written.rationale, self.shingle_words)
                if (similarity := max((_similarity(mine, it) for it in kept), default=0.0)) >= self.near:
                    reason = f"says nearly the same as an earlier sample (similarity {similarity:.2f})"
                else:
                    kept.append(mine)
            if reason is None:
                said.add(normal)
            found.append(reason)
        return found


def _similarity(a: set[bytes], b: set[bytes]) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)
