from __future__ import annotations

import datetime
import tracemalloc

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.readers.fields import FieldMapping
from kard_ray.knowledge.readers.parquet import ParquetCorpus
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all


def write(path, **columns):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=10)
    return str(path)


def test_each_row_group_is_a_shard_and_rows_are_numbered_in_the_file(tmp_path):
    texts = [f"text {n}" if n != 23 else None for n in range(25)]
    path = write(tmp_path / "a.parquet", id=range(25), text=texts, vector=[[0.0]] * 25)
    corpus = ParquetCorpus(path=path)
    documents, bad = read_all(corpus)
    assert len(corpus.shards()) == 3
    assert documents[-1] == Document(source_id="24", title="", text="text 24")
    assert len(documents) == 24
    assert [(row.where, row.reason) for row in bad] == [
        (f"{path}:row 24", "field text: expected text that is not empty, got None")
    ]


def test_arrow_types_become_what_a_document_holds(tmp_path):
    day = datetime.datetime(2024, 1, 31, 23, tzinfo=datetime.UTC)
    path = write(
        tmp_path / "a.parquet",
        key=pa.array([1, 2], pa.uint8()),
        head=pa.array(["T", None]).dictionary_encode(),
        body=pa.array(["x", "y"], pa.large_string()),
        stamp=pa.array([day, None], pa.timestamp("ns", "UTC")),
        day=pa.array([day.date(), None]),
        lang=pa.array(["en", None], pa.string_view()),
    )
    fields = FieldMapping(id="key", title="head", text="body", language="lang", date="stamp")
    documents, bad = read_all(ParquetCorpus(path=path, fields=fields))
    assert documents == [
        Document(source_id="1", title="T", text="x", language="en", date=day.date()),
        Document(source_id="2", title="", text="y"),
    ]
    assert not bad
    assert (
        read_all(ParquetCorpus(path=path, fields=fields.model_copy(update={"date": "day"})))[0] == documents
    )


def test_values_that_python_cannot_hold_are_bad_rows(tmp_path):
    raw = pa.array([b"good", b"caf\xe9", b"good"]).view(pa.string())
    days = pa.array([0, 0, 80_000_000], pa.int32()).view(pa.date32())
    path = write(tmp_path / "a.parquet", id=["a", "b", "c"], text=raw, day=days)
    documents, bad = read_all(ParquetCorpus(path=path, fields=FieldMapping(date="day")))
    assert [d.source_id for d in documents] == ["a"]
    assert [row.reason.partition(":")[0] for row in bad] == ["field text", "field day"]


def test_a_folder_stands_for_its_parquet_files(tmp_path):
    for name in ("b.parquet", "deep/a.parquet", "_temporary/c.parquet", ".d.parquet"):
        write(tmp_path / name, id=[name], text=["x"])
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "notes.txt").write_text("")
    for path in (tmp_path, f"{tmp_path}/"):
        documents, _ = read_all(ParquetCorpus(path=str(path)))
        assert [d.source_id for d in documents] == ["b.parquet", "deep/a.parquet"]
    assert len(read_all(ParquetCorpus(path=f"{tmp_path}/*.parquet"))[0]) == 1


def test_a_column_that_one_file_lacks_is_told_before_any_worker_starts(tmp_path):
    write(tmp_path / "a.parquet", id=["a"], body=["x"])
    write(tmp_path / "b.parquet", id=["a"], text=["x"])
    corpus = ParquetCorpus(path=str(tmp_path), fields=FieldMapping(text="body"))
    with pytest.raises(
        UserError, match=r"fields\.text: .*b\.parquet has no column 'body'; its columns are: id, text"
    ):
        corpus.shards()


def test_what_is_no_parquet_or_has_no_rows_is_told(tmp_path):
    (tmp_path / "a.parquet").write_text("no Parquet")
    with pytest.raises(UserError, match=r"corpus\.path: .*a\.parquet cannot be read: "):
        ParquetCorpus(path=str(tmp_path)).shards()
    pq.write_table(
        pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    with pytest.raises(UserError, match=r"corpus\.path: .*have no rows"):
        ParquetCorpus(path=str(tmp_path)).shards()
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(UserError, match=r"corpus\.path: folder .* holds no file \*\.parquet"):
        ParquetCorpus(path=str(tmp_path)).shards()


def test_a_file_damaged_inside_is_told(tmp_path):
    path = write(tmp_path / "a.parquet", id=[str(n) for n in range(100)], text=["x" * 99] * 100)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:2000] = bytes(1996)
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.parquet cannot be read: "):
        read_all(ParquetCorpus(path=path))


def test_other_file_systems_are_read(tmp_path):
    write(tmp_path / "a.parquet", id=["a"], text=["x"])
    fs = fsspec.filesystem("memory")
    fs.pipe("/lake/part/a.parquet", (tmp_path / "a.parquet").read_bytes())
    try:
        documents, _ = read_all(ParquetCorpus(path="memory://lake"))
        assert [d.source_id for d in documents] == ["a"]
    finally:
        fs.rm("/lake", recursive=True)


def test_memory_stays_flat_in_a_large_row_group(tmp_path):
    rows = 30_000
    table = pa.table({"id": range(rows), "text": [f"{n} " * 100 for n in range(rows)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows)
    size = table.nbytes
    del table
    corpus = ParquetCorpus(path=str(tmp_path))
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for shard in corpus.shards():
        for _ in corpus.read(shard):
            most = max(most, pa.total_allocated_bytes() - before)
    assert most + tracemalloc.get_traced_memory()[1] < size / 2
    tracemalloc.stop()
