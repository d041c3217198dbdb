"""Keep a rationale only if it is grounded and states a fact of every passage."""

from __future__ import annotations

from dataclasses import dataclass

from kard_ray.teacher.filters.grounded import Grounded


@dataclass(frozen=True, kw_only=True, slots=True)
class CitesAll(Grounded):
    """Filter: :class:`Grounded`, and no passage goes without a fact stated from it."""

    name: str = "cites_all"
    cites_all: bool = True
