"""Which passages a search may find: typed values only, never a string of a query language from outside."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from kard_ray.knowledge.fragments import is_in
from kard_ray.runtime.config import Frozen

COLUMNS = ("source", "language", "date")


class PassageFilter(Frozen):
    """All given conditions hold; an empty tuple or None is no condition. A passage without a date fails every date."""

    source: tuple[str, ...] = Field((), max_length=1000)
    language: tuple[str, ...] = Field((), max_length=100)
    date_from: datetime.date | None = None  # inclusive
    date_to: datetime.date | None = None  # inclusive

    @property
    def is_empty(self) -> bool:
        """Whether every passage passes."""
        return self == PassageFilter()

    def where(self) -> str:
        """The condition for LanceDB; values are escaped."""
        clauses = [is_in(name, values) for name in ("source", "language") if (values := getattr(self, name))]
        if self.date_from is not None:
            clauses.append(f"date >= date '{self.date_from.isoformat()}'")
        if self.date_to is not None:
            clauses.append(f"date <= date '{self.date_to.isoformat()}'")
        return " AND ".join(clauses)

    def mask(self, columns: pa.Table) -> pa.ChunkedArray:
        """The same over a table with COLUMNS: one bool per row."""
        keep = pa.chunked_array([pa.repeat(True, columns.num_rows)])
        for name in ("source", "language"):
            if values := getattr(self, name):
                keep = pc.and_(keep, pc.is_in(columns[name], value_set=pa.array(values)))
        if self.date_from is not None:
            keep = pc.and_(keep, pc.greater_equal(columns["date"], pa.scalar(self.date_from)))
        if self.date_to is not None:
            keep = pc.and_(keep, pc.less_equal(columns["date"], pa.scalar(self.date_to)))
        return pc.fill_null(keep, False)
