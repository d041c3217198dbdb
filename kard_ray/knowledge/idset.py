"""A fingerprint of a set of ids that can be added up: equal sets are told from unequal ones without holding them.

The sum of 128-bit hashes modulo 2^128 (an additive multiset hash; Bellare and Micciancio, 1997). Workers sum their
own ids, the driver adds the sums, so a hundred million ids are checked in a few bytes. Two different sets of the same
size agree with a probability of about 2^-128.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Self

_MODULUS = 1 << 128


class IdSet(NamedTuple):
    """How many ids, and the sum of their hashes."""

    size: int = 0
    total: int = 0

    @classmethod
    def of(cls, ids: Iterable[str]) -> Self:
        """The fingerprint of ``ids``, in any order."""
        size, total = 0, 0
        for identity in ids:
            size += 1
            total += int.from_bytes(hashlib.sha256(identity.encode()).digest()[:16], "big")
        return cls(size, total % _MODULUS)

    def plus(self, other: IdSet) -> IdSet:
        """Both sets together; ids in both count twice."""
        return IdSet(self.size + other.size, (self.total + other.total) % _MODULUS)

    def minus(self, other: IdSet) -> IdSet:
        """Without the ids of ``other``, which must be in this set."""
        return IdSet(self.size - other.size, (self.total - other.total) % _MODULUS)

    def plain(self) -> list[str]:
        """JSON values."""
        return [str(self.size), f"{self.total:032x}"]

    @classmethod
    def parse(cls, plain: list[str]) -> Self:
        """From :meth:`plain`."""
        return cls(int(plain[0]), int(plain[1], 16))
