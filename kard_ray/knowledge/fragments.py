"""Third phase of an ingest: passages to Lance fragments, written by the workers; the driver commits them once.

A unit is a few row groups. A worker reads its unit anew in every attempt, embeds it, writes one fragment, reads the ids
back from the written file, and leaves a record. A unit with a record is not done again; a killed attempt leaves a file
that no commit names.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import lance
import numpy as np
import pyarrow as pa
import ray
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata, LanceFragment

from kard_ray.knowledge.embedding import Embedder, EmbedderConfig
from kard_ray.knowledge.idset import IdSet
from kard_ray.knowledge.passage import PASSAGES, TABLE, embedded
from kard_ray.knowledge.reading import RowGroup, read_group
from kard_ray.knowledge.work_files import read_json_files, write_json
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.progress import Progress

_UNITS = 64  # a corpus is cut in about so many, so that workers end together and little is lost by a kill
_MIN_ROWS, _MAX_ROWS = 512, 65_536  # passages of a unit: 5 s of a CPU core's embedding; 100 MB with vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Row groups, and for each of them the rows that are left out."""

    groups: tuple[RowGroup, ...]
    left_out: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """The same for the same passages."""
        parts = [
            [group.file, group.index, list(rows)]
            for group, rows in zip(self.groups, self.left_out, strict=True)
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    @property
    def rows(self) -> int:
        """Passages that are written."""
        return sum(group.ids.size for group in self.groups) - sum(map(len, self.left_out))


def plan_units(groups: Sequence[RowGroup], dropped: np.ndarray) -> list[Unit]:
    """Consecutive row groups packed to units; ``dropped`` are the places left out, ascending."""
    total = sum(group.ids.size for group in groups) - len(dropped)
    size = min(max(total // _UNITS, _MIN_ROWS), _MAX_ROWS)
    units: list[Unit] = []
    chosen: list[tuple[RowGroup, tuple[int, ...]]] = []
    rows = 0
    for group in groups:
        low, high = np.searchsorted(dropped, [group.first, group.first + group.ids.size])
        left_out = tuple((dropped[low:high] - group.first).tolist())
        if len(left_out) == group.ids.size:
            continue
        chosen.append((group, left_out))
        rows += group.ids.size - len(left_out)
        if rows >= size:
            units.append(_unit(chosen))
            chosen, rows = [], 0
    return [*units, _unit(chosen)] if chosen else units


def _unit(chosen: Sequence[tuple[RowGroup, tuple[int, ...]]]) -> Unit:
    return Unit(groups=tuple(group for group, _ in chosen), left_out=tuple(rows for _, rows in chosen))


@dataclass(frozen=True, kw_only=True, slots=True)
class WritingPlan:
    """What every worker needs to write fragments; picklable. ``base_version`` is that of the table to be updated."""

    parts_url: str  # where the row groups are
    records_url: str  # where the records go
    table: str  # folder of the Lance table
    embedder: EmbedderConfig | None
    base_version: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What the record of a finished unit tells. The last three are empty in a first build."""

    rows: int  # passages read for the unit; ``ids`` are theirs
    ids: IdSet
    # Metadata of the Lance fragment, None when every passage was there already
    fragment: dict[str, Any] | None
    embedded: int  # rows of the fragment
    dimensions: int
    stale: tuple[str, ...] = ()  # passage ids of the base whose content has changed
    seen: tuple[str, ...] = ()  # passage ids that the base has too
    missing: tuple[
        str, ...
    ] = ()  # passage ids of the base, of the unit's documents, that the unit does not have


class FragmentWriter:
    """Writes units as fragments; an actor's callable for Ray Data rows ``{unit}``, a position in ``units``."""

    def __init__(self, plan: WritingPlan, units: Sequence[Unit]) -> None:
        self.plan, self.units = plan, units
        self.embedder = Embedder(plan.embedder) if plan.embedder is not None else None

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Write one unit and its record; returns how many passages it has."""
        unit = self.units[int(row["unit"])]
        table = self._read(unit)
        ids = IdSet.of(table["passage_id"].to_pylist())
        record: dict[str, Any] = {
            "rows": table.num_rows,
            "ids": ids.plain(),
            "fragment": None,
            "dimensions": 0,
        }
        if self.plan.base_version is not None:
            table, known = self._changed(table)
            record |= known
        record["embedded"] = table.num_rows
        if table.num_rows:
            if self.embedder is not None:
                table = self.embedder(table)
                record["dimensions"] = table.schema.field("vector").type.list_size
            record["fragment"] = write_fragment(table, self.plan.table)
        fs, folder = fsspec.core.url_to_fs(self.plan.records_url)
        fs.makedirs(folder, exist_ok=True)
        write_json(fs, posixpath.join(folder, f"{unit.name}.json"), record)
        return {"passages": unit.rows}

    def _read(self, unit: Unit) -> pa.Table:
        tables = []
        for group, left_out in zip(unit.groups, unit.left_out, strict=True):
            table = read_group(self.plan.parts_url, group)
            keep = np.ones(table.num_rows, bool)
            keep[list(left_out)] = False
            tables.append(table.filter(pa.array(keep)))
        return pa.concat_tables(tables).combine_chunks().cast(PASSAGES)

    def _changed(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """The passages that the base does not have as they are, and what the base has of the same documents."""
        base = lance.dataset(self.plan.table, version=self.plan.base_version)
        sources = table["source_id"].unique().to_pylist()
        there: dict[str, str] = {}
        for at in range(0, len(sources), 500):
            found = base.to_table(
                columns=["passage_id", "digest"], filter=is_in("source_id", sources[at : at + 500])
            )
            there |= dict(zip(found["passage_id"].to_pylist(), found["digest"].to_pylist(), strict=True))
        ids, digests = table["passage_id"].to_pylist(), table["digest"].to_pylist()
        same = [there.get(identity) == digest for identity, digest in zip(ids, digests, strict=True)]
        known = {
            "stale": [i for i, equal in zip(ids, same, strict=True) if i in there and not equal],
            "seen": [i for i in ids if i in there],
            "missing": sorted(there.keys() - set(ids)),
        }
        return table.filter(pa.array([not equal for equal in same])), known


def is_in(column: str, values: Iterable[str]) -> str:
    """A filter ``column IN (...)``: values become SQL string literals with quotes doubled, never raw text."""
    literals = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({literals})"


def write_fragment(table: pa.Table, uri: str) -> dict[str, Any]:
    """Write ``table`` as one uncommitted fragment of the Lance table ``uri`` and read its ids back.

    Returns the fragment's metadata. Raises OSError when the file does not hold the ids of ``table``.
    """
    fragment = LanceFragment.create(uri, table)
    found = IdSet()
    for file in fragment.files:
        reader = LanceFileReader(posixpath.join(uri, "data", file.path), columns=["passage_id"])
        for batch in reader.read_all().to_batches():
            found = found.plus(IdSet.of(batch["passage_id"].to_pylist()))
    expected = IdSet.of(table["passage_id"].to_pylist())
    if found != expected:
        raise OSError(
            f"{uri}: a fragment of {expected.size} passages holds {found.size} or others after writing"
        )
    return fragment.to_json()


def write_units(
    units: Sequence[Unit], plan: WritingPlan, *, workers: int, gpus_per_worker: float, label: str
) -> list[Written]:
    """Write all units that have no record yet, on a pool of Ray actors; returns every unit's record, in order.

    Raises UserError when a unit has no record afterwards.
    """
    records = read_records(plan.records_url, units)
    todo = [unit for unit in units if unit.name not in records]
    total = sum(unit.rows for unit in units)
    done = total - sum(unit.rows for unit in todo)
    if todo:
        if done:
            print(f"{label}: {done} of {total} passages were finished before and are kept")
        writer: Any = FragmentWriter
        dataset = ray.data.from_items(
            [{"unit": at} for at in range(len(todo))], override_num_blocks=len(todo)
        ).map(
            writer,
            fn_constructor_args=(plan, todo),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(todo))),
            num_cpus=1,
            num_gpus=gpus_per_worker,
        )
        with Progress(label, total=total, unit="passages", done=done) as progress:
            for row in dataset.iter_rows():
                progress.advance(row["passages"])
        records = read_records(plan.records_url, units)
    lost = [unit for unit in units if unit.name not in records]
    if lost:
        raise UserError(
            f"stage {label}: {len(lost)} of {len(units)} parts were not written; run the same command again: "
            "finished parts are kept."
        )
    return [records[unit.name] for unit in units]


def read_records(url: str, units: Sequence[Unit]) -> dict[str, Written]:
    """The records of the units that are finished, by name."""
    return {
        name: Written(
            rows=plain["rows"],
            ids=IdSet.parse(plain["ids"]),
            fragment=plain["fragment"],
            embedded=plain["embedded"],
            dimensions=plain["dimensions"],
            **{field: tuple(plain.get(field, ())) for field in ("stale", "seen", "missing")},
        )
        for name, plain in read_json_files(url, [unit.name for unit in units]).items()
    }


def check_written(written: Sequence[Written], expected: IdSet, where: str) -> None:
    """Raises UserError unless the units hold exactly the ids that were read and not left out."""
    found = IdSet()
    for unit in written:
        found = found.plus(unit.ids)
    if found != expected:
        raise UserError(
            f"knowledge base {where}: {expected.size} passages were read and {found.size} (or others) were written; "
            "nothing was committed; delete the folder and run again."
        )


def commit_first(written: Sequence[Written], folder: str) -> int:
    """One commit of all fragments as the whole table; returns the Lance version."""
    dimensions = max((unit.dimensions for unit in written), default=0)
    fragments = [FragmentMetadata.from_json(json.dumps(unit.fragment)) for unit in written if unit.fragment]
    uri = table_uri(folder)
    dataset = lance.LanceDataset.commit(uri, lance.LanceOperation.Overwrite(embedded(dimensions), fragments))
    return int(dataset.version)


def table_uri(folder: str) -> str:
    """The Lance table of the knowledge base in ``folder``."""
    return posixpath.join(folder, f"{TABLE}.lance")
