"""Rows of an unfinished artifact, kept as they are finished, so that ``kill -9`` costs only rows in flight.

Workers write each finished batch as ``_parts/<hash of its ids>.parquet`` (temporary name, then rename).
A retried task writes the same name again; a batch that was cut differently after a resume only repeats
ids, and readers keep one row per id. Resume goes by row id, never by block or position.
"""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from collections.abc import Callable, Sequence

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from kard_ray.runtime.artifacts import PARTS, Artifact
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.progress import Progress

ERROR = "error"  # column: empty for a good row, else why the row failed


class PartWriter:
    """Writes batches as part files; runs in workers, so it holds only an address and a column name."""

    def __init__(self, url: str, id_column: str) -> None:
        self.url, self.id_column = url, id_column

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Write ``batch`` and return one row: how many rows it had."""
        if batch.num_rows:
            fs, folder = fsspec.core.url_to_fs(self.url)
            fs.makedirs(folder, exist_ok=True)
            ids = "\n".join(batch[self.id_column].to_pylist())
            target = posixpath.join(folder, hashlib.sha256(ids.encode()).hexdigest()[:24] + ".parquet")
            temporary = f"{target}.{uuid.uuid4().hex[:8]}.tmp"
            with fs.open(temporary, "wb") as sink:
                pq.write_table(batch, sink, compression="zstd")
            fs.mv(temporary, target)
        return pa.table({"rows": pa.array([batch.num_rows], pa.int64())})


class PartsWriter:
    """Writes batches that hold rows of several artifacts, each to its own; ``column`` tells whose a row is.

    ``urls`` are the artifacts' addresses of parts, in the order that the column counts them in.
    """

    def __init__(self, urls: Sequence[str], column: str, id_column: str) -> None:
        self.writers = [PartWriter(url, id_column) for url in urls]
        self.column = column

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Write ``batch`` and return one row: how many rows it had."""
        for at in pc.unique(batch[self.column]).to_pylist():
            self.writers[at](batch.filter(pc.equal(batch[self.column], at)).drop_columns([self.column]))
        return pa.table({"rows": pa.array([batch.num_rows], pa.int64())})


def read_parts(artifact: Artifact, schema: pa.Schema, id_column: str) -> pa.Table:
    """All finished rows so far, one per id, sorted by id; rows with an error are left out (they are tried again)."""
    table = _all_rows(artifact, schema)
    if ERROR in schema.names:
        table = table.filter(pc.equal(table[ERROR], ""))
    return _one_per_id(table, id_column)


def _all_rows(artifact: Artifact, schema: pa.Schema) -> pa.Table:
    """Rows of all part files.

    One that cannot be read (a power cut can leave one), or that an older version of the stage wrote with other columns,
    is removed: its rows come again.
    """
    fs, folder = artifact.run.fs, artifact.at(PARTS)
    fs.invalidate_cache()
    tables = [schema.empty_table()]
    for path in sorted(fs.ls(folder, detail=False)) if fs.exists(folder) else ():
        if not path.endswith(".parquet"):
            continue
        try:
            with fs.open(path, "rb") as source:
                table = pq.read_table(source).select(schema.names)
        except (pa.ArrowInvalid, KeyError) as error:
            print(f"{path} cannot be read ({error}); it is removed, and its rows are made again")
            fs.rm_file(path)
        else:
            tables.append(table.cast(schema))
    return pa.concat_tables(tables)


def _one_per_id(table: pa.Table, id_column: str) -> pa.Table:
    positions = pa.table({"id": table[id_column], "at": pa.array(range(table.num_rows), pa.int64())})
    first = positions.group_by("id").aggregate([("at", "min")]).sort_by("id")
    return table.take(first["at_min"])


def map_resumable(
    rows: pa.Table,
    transform: Callable[[ray.data.Dataset], ray.data.Dataset],
    *,
    artifact: Artifact,
    schema: pa.Schema,
    id_column: str,
    label: str,
    block_rows: int = 64,
) -> pa.Table:
    """Run ``transform`` on Ray Data over the rows that are not finished yet; return all finished rows by id.

    ``transform`` must keep ``id_column`` and yield columns of ``schema``; a row that failed has a
    non-empty ``error`` and is returned too. Raises UserError when a row is lost or comes twice.
    """
    todo = unfinished_rows(rows, artifact, schema, id_column)
    writer = PartWriter(artifact.url(PARTS), id_column)
    write_parts(todo, transform, writer, label=label, total=rows.num_rows, block_rows=block_rows)
    return collect_parts(rows, artifact, schema, id_column)


def unfinished_rows(rows: pa.Table, artifact: Artifact, schema: pa.Schema, id_column: str) -> pa.Table:
    """Those of ``rows`` that no part of ``artifact`` holds without an error."""
    finished = read_parts(artifact, schema, id_column)
    done = pa.array(finished[id_column].to_pylist(), pa.string())
    return rows.filter(pc.invert(pc.is_in(rows[id_column], value_set=done)))


def write_parts(
    todo: pa.Table,
    transform: Callable[[ray.data.Dataset], ray.data.Dataset],
    writer: PartWriter | PartsWriter,
    *,
    label: str,
    total: int,
    block_rows: int,
) -> None:
    """Run ``transform`` on Ray Data over ``todo``, of ``total`` rows, and write what comes out as it comes."""
    if not todo.num_rows:
        return
    done = total - todo.num_rows
    if done:
        print(f"{label}: {done} of {total} rows were finished before and are kept")
    blocks = [todo.slice(at, block_rows) for at in range(0, todo.num_rows, block_rows)]
    written = transform(ray.data.from_arrow(blocks)).map_batches(
        writer, batch_format="pyarrow", batch_size=block_rows, zero_copy_batch=True, num_cpus=0.05
    )
    with Progress(label, total=total, unit="rows", done=done) as progress:
        for batch in written.iter_batches(batch_size=None, batch_format="pyarrow"):
            progress.advance(int(pc.sum(batch["rows"]).as_py() or 0))


def collect_parts(rows: pa.Table, artifact: Artifact, schema: pa.Schema, id_column: str) -> pa.Table:
    """All of ``rows`` as they were finished, by id; those that only ever failed too.

    Raises UserError when a row is lost or comes twice.
    """
    result = pa.concat_tables(
        [read_parts(artifact, schema, id_column), _failures(artifact, schema, id_column)]
    )
    expected, found = set(rows[id_column].to_pylist()), result[id_column].to_pylist()
    if len(found) != len(set(found)) or set(found) != expected:
        raise UserError(
            f"stage {artifact.spec.stage}: {rows.num_rows} rows went in and {len(found)} came out "
            f"({len(expected - set(found))} lost); run the same command again: finished rows are kept."
        )
    return result.sort_by(id_column)


def _failures(artifact: Artifact, schema: pa.Schema, id_column: str) -> pa.Table:
    """Rows that only ever ended in an error, one per id."""
    if ERROR not in schema.names:
        return schema.empty_table()
    good = set(read_parts(artifact, schema, id_column)[id_column].to_pylist())
    table = _all_rows(artifact, schema)
    table = table.filter(pc.not_equal(table[ERROR], ""))
    keep = pc.invert(pc.is_in(table[id_column], value_set=pa.array(sorted(good), pa.string())))
    return _one_per_id(table.filter(keep), id_column)
