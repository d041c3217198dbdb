"""All filters by name; a new one is a new file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kard_ray.teacher.filters.base import Filter
from kard_ray.teacher.filters.concludes import Concludes
from kard_ray.teacher.filters.grounded import Grounded
from kard_ray.teacher.filters.supported import Supported
from kard_ray.teacher.filters.true_comparisons import TrueComparisons

FilterName = Literal["concludes", "supported", "grounded", "cites_all", "true_comparisons"]

_FILTERS: dict[FilterName, Filter] = {
    "concludes": Concludes(),
    "supported": Supported(),
    "grounded": Grounded(),
    "cites_all": Grounded(name="cites_all", cites_all=True),
    "true_comparisons": TrueComparisons(),
}


def filters_named(names: Sequence[FilterName]) -> list[Filter]:
    """The filters of ``names``, in that order: the first that objects gives the reason."""
    return [_FILTERS[name] for name in names]
