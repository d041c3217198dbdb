"""The numbers of a sweep: its trials, the best one, and which fields mattered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from kard_ray.tuning.config import SweepConfig
from kard_ray.tuning.search import importances
from kard_ray.tuning.space import Values
from kard_ray.tuning.targets import Mode
from kard_ray.tuning.trials import TrialBook, TrialRecord, best_of

Results = Mapping[str, Any]


def make_results(
    config: SweepConfig, metric: str, mode: Mode, book: TrialBook, own: Values
) -> dict[str, Any]:
    """Plain JSON: ``trials`` in the order of their numbers, ``best`` and ``own`` are numbers of trials or None."""
    records = book.records
    best = best_of(records, mode)
    return {
        "target": config.target,
        "metric": metric,
        "mode": mode,
        "search": config.search,
        "scheduler": config.scheduler,
        "space": {name: {"values": values.text(), "own": own[name]} for name, values in config.space.items()},
        "states": dict(Counter(record.state for record in records)),
        "wall_seconds": round(book.seconds, 1),
        "trial_seconds": round(sum(record.seconds for record in records), 1),
        "epochs": round(book.epochs, 3),
        "best": best.number if best else None,
        "own": 0 if config.own and records and records[0].number == 0 else None,
        "importance": importances(config.space, mode, records),
        "trials": [_trial(record) for record in records],
    }


def trial_of(results: Results, which: str) -> Mapping[str, Any] | None:
    """The trial that ``best`` or ``own`` names."""
    return next((trial for trial in results["trials"] if trial["number"] == results[which]), None)


def _trial(record: TrialRecord) -> dict[str, Any]:
    return record.model_dump(mode="json") | {"epochs": record.epochs}


def trial_table(config: SweepConfig, records: Sequence[TrialRecord]) -> pa.Table:
    """One row per trial; the fields of the space are columns of their own, under their dotted names."""
    points = pa.list_(pa.struct([("epochs", pa.float64()), ("value", pa.float64())]))
    columns: dict[str, pa.Array] = {
        "number": pa.array([r.number for r in records], pa.int32()),
        "state": pa.array([r.state for r in records], pa.string()),
        "score": pa.array([r.score for r in records], pa.float64()),
        "epochs": pa.array([r.epochs for r in records], pa.float64()),
        "seconds": pa.array([r.seconds for r in records], pa.float64()),
        "failures": pa.array([r.failures for r in records], pa.int32()),
        "reason": pa.array([r.reason for r in records], pa.string()),
        "ended": pa.array([r.ended for r in records], pa.string()),
        "points": pa.array(
            [[{"epochs": p.epochs, "value": p.value} for p in r.points] for r in records], points
        ),
    }
    for name in config.space:
        columns[name] = _column([record.values[name] for record in records])
    return pa.table(columns)


def _column(values: Sequence[Any]) -> pa.Array:
    """Of one type: choices may mix numbers and words, which are all written as words then."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds != {int}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values) if len(kinds) <= 1 else pa.array([None if v is None else str(v) for v in values])
