from __future__ import annotations

import csv
import gzip
import io
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import lines
from kard_ray.knowledge.readers.csv import CsvCorpus
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all


def corpus(tmp_path, content, **config):
    file = tmp_path / "a.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return CsvCorpus(path=str(file), **config)


def test_rows_are_documents_by_their_header(tmp_path):
    content = '\ufeffid,title,text,more\r\n1,,"x, ""y""\r\nz",\r\n\r\n  b ,T,é,m'
    documents, bad = read_all(corpus(tmp_path, content))
    assert documents == [
        Document(source_id="1", title="", text='x, "y"\r\nz'),
        Document(source_id="  b ", title="T", text="é"),
    ]
    assert not bad


def test_delimiter_and_fields_stand_in_the_recipe(tmp_path):
    file = tmp_path / "a.tsv.gz"
    file.write_bytes(gzip.compress(b'doc\tabstract\tbody\n1\tA, "a\t\n'.replace(b'"', b"")))
    tree = {
        "kind": "csv",
        "path": str(file),
        "delimiter": "\t",
        "fields": {"id": "doc", "text": ["abstract", "body"]},
    }
    documents, bad = read_all(CsvCorpus.model_validate(tree))
    assert documents == [Document(source_id="1", title="", text="A, a")]
    assert not bad


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n"])
def test_what_cannot_be_a_delimiter_is_refused(delimiter):
    with pytest.raises(ValidationError):
        CsvCorpus(path="a.csv", delimiter=delimiter)


def test_bad_rows_tell_line_and_reason_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    content = b"\n".join(
        [
            b"id,text",
            b"1,good",
            b"2,caf\xe9",
            b"3",
            b"4,x,y",
            b'5,"a"b',
            b"," + b"x",
            b"7," + b"x" * 200,
            b'8,"two',
            b'lines"',
            b"9,last",
            b'10,"never',
            b"closed,",
        ]
    )
    documents, bad = read_all(corpus(tmp_path, content))
    assert [d.source_id for d in documents] == ["1", "8", "9"]
    assert [row.where.rpartition(":")[2] for row in bad] == ["3", "4", "5", "6", "7", "8", "12"]
    for row, reason in zip(
        bad,
        [
            "field text: half of a surrogate pair or bytes that are not UTF-8",
            "1 fields, but the header names 2",
            "3 fields, but the header names 2",
            "not a CSV record: ',' expected after '\"'",
            "field id: expected an integer or text",
            "the line has more than 100 bytes",
            "not a CSV record (lines 12 to 13): unexpected end of data",
        ],
        strict=True,
    ):
        assert row.reason.startswith(reason)


def test_a_column_that_is_not_there_is_told_before_any_worker_starts(tmp_path):
    found = corpus(tmp_path, "key,text\n1,x\n")
    for call in (found.shards, lambda: list(found.read(found.path))):
        with pytest.raises(
            UserError, match=r"fields\.id: .*a\.csv has no column 'id'; its columns are: key, text"
        ):
            call()


def test_a_file_without_a_row_gives_none(tmp_path):
    for content in ("", "\n", "id,text\n"):
        assert read_all(corpus(tmp_path, content)) == ([], [])


def test_a_broken_header_is_told(tmp_path):
    with pytest.raises(UserError, match=r"path: .*a\.csv:1 is no header row: not a CSV record"):
        corpus(tmp_path, 'id,"text\n1,x\n').shards()


def test_long_documents_are_read(tmp_path):
    documents, _ = read_all(corpus(tmp_path, "id,text\n1," + "x" * 1_000_000 + "\n"))
    assert len(documents[0].text) == 1_000_000


def test_memory_stays_flat(tmp_path):
    found = corpus(tmp_path, "id,text\n" + "".join(f"{n},{'x' * 1000}\n" for n in range(10_000)))
    tracemalloc.start()
    assert sum(isinstance(row, Document) for row in found.read(found.path)) == 10_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(CELL, CELL, CELL)), st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"])
)
def test_what_python_writes_is_read_as_it_was(rows, delimiter, end):
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "title", "text"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        found = CsvCorpus(path=str(Path(folder, "a.csv")), delimiter=delimiter)
        Path(found.path).write_bytes(sink.getvalue().encode())
        documents, bad = read_all(found)
    good = [row for row in rows if row[0].strip() and row[2].strip()]
    assert [(d.source_id, d.title, d.text) for d in documents] == [
        (key, title if title.strip() else "", text) for key, title, text in good
    ]
    assert len(bad) == len(rows) - len(good)


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(content):
    with tempfile.TemporaryDirectory() as folder:
        found = CsvCorpus(path=str(Path(folder, "a.csv")))
        Path(found.path).write_bytes(b"id,text\n" + content)
        for row in found.read(found.path):
            assert isinstance(row, Document | BadRow)
