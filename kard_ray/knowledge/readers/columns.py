"""Documents from Arrow record batches, for the formats that are read as such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers.fields import FieldMapping, document_of

BATCH_ROWS = 1024  # rows held in memory at once


def documents_of(
    batch: pa.RecordBatch | pa.Table, mapping: FieldMapping, *, where: str, first: int
) -> Iterator[Document | BadRow]:
    """One document or BadRow for each row; ``first`` is the number of the batch's first row, from 1."""
    columns = [_values(column) for column in batch.columns]
    for number, row in enumerate(zip(*columns, strict=True), start=first):
        yield document_of(
            dict(zip(batch.schema.names, row, strict=True)), mapping, where=f"{where}:row {number}"
        )


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The column's values; where Python cannot hold one, its error, which no field accepts.

    Such are bytes that are not UTF-8 and days in the year 200000.
    """
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError) as error:
        return error
