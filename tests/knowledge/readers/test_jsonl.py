from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tempfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import lines
from kard_ray.knowledge.readers.fields import MAX_DOCUMENT_CHARACTERS, FieldMapping
from kard_ray.knowledge.readers.jsonl import JsonlCorpus, parse_line
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all


def parse(line: bytes) -> Document | BadRow:
    return parse_line(line, FieldMapping(), where="corpus.jsonl:3")


@pytest.mark.parametrize(
    ("line", "document"),
    [
        (b'{"id": "a", "title": "T", "text": "x"}', Document(source_id="a", title="T", text="x")),
        (b'{"id": 7, "text": "x"}', Document(source_id="7", title="", text="x")),
        (b'{"id": "a", "title": null, "text": "x"}\r\n', Document(source_id="a", title="", text="x")),
        (b'{"id": "a", "title": "", "text": "x"}', Document(source_id="a", title="", text="x")),
        ('{"id": "é", "text": "日本"}'.encode(), Document(source_id="é", title="", text="日本")),
        (b'\xef\xbb\xbf{"id": "a", "text": "x"}', Document(source_id="a", title="", text="x")),
        (b'{"id": "a", "text": "x", "more": {"y": 1}}', Document(source_id="a", title="", text="x")),
        (b'{"id": "a", "text": "\\ud83d\\ude00"}', Document(source_id="a", title="", text="😀")),
    ],
)
def test_a_good_line_is_a_document(line: bytes, document: Document) -> None:
    assert parse(line) == document


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "text": "caf\xe9"}', "not JSON in UTF-8"),
        (b'{"id": "a", "text": "x"', "not JSON in UTF-8"),
        (b"plain text", "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON in UTF-8"),
        (b'{"id": "a", "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON in UTF-8"),
        (b'{"id": ' + b"9" * 5_000 + b', "text": "x"}', "not JSON in UTF-8"),
        (b'["a", "x"]', "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"text": "x"}', "field id"),
        (b'{"id": " ", "text": "x"}', "field id"),
        (b'{"id": true, "text": "x"}', "field id"),
        (b'{"id": 1.5, "text": "x"}', "field id"),
        (b'{"id": "a"}', "field text"),
        (b'{"id": "a", "text": null}', "field text"),
        (b'{"id": "a", "text": " \\n "}', "field text"),
        (b'{"id": "a", "text": 5}', "field text"),
        (b'{"id": "a", "text": ["x"]}', "field text"),
        (b'{"id": "a", "title": 5, "text": "x"}', "field title"),
        (b'{"id": "a", "text": "\\ud800"}', "field text"),
        (b'{"id": "\\ud800", "text": "x"}', "field id"),
        (b'{"id": "a", "title": "\\udfff", "text": "x"}', "field title"),
        (
            json.dumps({"id": "a", "text": "x" * (MAX_DOCUMENT_CHARACTERS + 1)}).encode(),
            f"{MAX_DOCUMENT_CHARACTERS + 1} characters",
        ),
    ],
)
def test_a_bad_line_tells_where_and_why(line: bytes, reason: str) -> None:
    found = parse(line)
    assert isinstance(found, BadRow)
    assert found.where == "corpus.jsonl:3"
    assert reason in found.reason
    assert len(found.reason) < 300
    found.reason.encode()  # it is written to a table


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(line: bytes) -> None:
    found = parse(line)
    assert isinstance(found, Document | BadRow)
    if isinstance(found, BadRow):
        pa.array([found.reason], pa.string())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
LINE = st.builds(
    lambda key, text, ascii_only: json.dumps({"id": key, "text": text}, ensure_ascii=ascii_only).encode(),
    st.integers(0, 5),
    TEXT,
    st.booleans(),
)
END = st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"])


@settings(max_examples=60)
@given(st.lists(st.tuples(LINE | st.binary(max_size=20), END)), st.binary(max_size=5), st.integers(1, 100))
def test_shards_of_any_size_give_the_documents_of_one(
    rows: list[tuple[bytes, bytes]], tail: bytes, size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder, "a.jsonl")
        file.write_bytes(b"".join(line + end for line, end in rows) + tail)
        corpus = JsonlCorpus(path=str(file))
        whole, bad = read_all(corpus)
        patch.setattr(lines, "SHARD_BYTES", size)
        assert len(corpus.shards()) == max(1, -(-file.stat().st_size // size))
        ranged, told = read_all(corpus)
    assert ranged == whole
    assert [row.reason for row in told] == [row.reason for row in bad]


def test_lines_are_numbered_and_blank_ones_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_bytes(b'\n  \n{"id": "a", "text": "x"}\r\n\r\noops\n{"id": "b", "text": "y"}')
    found = list(JsonlCorpus(path=str(file)).read(str(file)))
    assert [row.source_id if isinstance(row, Document) else row.where for row in found] == [
        "a",
        f"{file}:5",
        "b",
    ]


def test_a_mapping_of_the_recipe_is_used(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"doc": 1, "a": "A", "b": "B"}\n{"id": 1, "text": "x"}\n')
    tree = {"kind": "jsonl", "path": str(file), "fields": {"id": "doc", "text": ["a", "b"]}}
    documents, bad = read_all(JsonlCorpus.model_validate(tree))
    assert documents == [Document(source_id="1", title="", text="A\nB")]
    assert [row.reason for row in bad] == ["field a: the row does not have it; its fields are: id, text"]


def test_a_glob_gives_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl", "d.txt", ".hidden.jsonl"):
        (tmp_path / name).write_text("")
    found = JsonlCorpus(path=str(tmp_path / "**/*.jsonl")).shards()
    assert found == [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "deep/c.jsonl")]


def test_a_relative_path_is_made_absolute_and_brackets_are_no_glob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a[1].jsonl").write_text('{"id": 1, "text": "x"}')
    (tmp_path / ".cache").mkdir()
    monkeypatch.chdir(tmp_path / ".cache")
    assert JsonlCorpus(path="../*.jsonl").shards() == [str(tmp_path / "a[1].jsonl")]
    (tmp_path / ".cache" / ".b.jsonl").write_text("")
    (tmp_path / ".cache" / "c.jsonl").write_text("")
    assert JsonlCorpus(path="*.jsonl").shards() == [str(tmp_path / ".cache" / "c.jsonl")]
    assert JsonlCorpus(path=".*.jsonl").shards() == [str(tmp_path / ".cache" / ".b.jsonl")]
    monkeypatch.chdir(tmp_path)
    assert JsonlCorpus(path="a[1].jsonl").shards() == [str(tmp_path / "a[1].jsonl")]
    assert JsonlCorpus(path="*.jsonl").shards() == [str(tmp_path / "a[1].jsonl")]


@pytest.mark.parametrize("pattern", ["*.jsonl", "none.jsonl", "folder"])
def test_a_path_without_a_file_is_told_with_its_field(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "folder").mkdir()
    corpus = JsonlCorpus(path=str(tmp_path / pattern))
    for call in (corpus.shards, corpus.fingerprint):
        with pytest.raises(
            UserError, match=r"knowledge\.corpus\.path: no file matches .*" + pattern.replace("*", r"\*")
        ):
            call()


@pytest.mark.parametrize("url", ["nosuch://bucket/a.jsonl", "hdfs://nowhere:1/a.jsonl"])
def test_a_file_system_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(UserError, match=r"knowledge\.corpus\.path: .*a\.jsonl"):
        JsonlCorpus(path=url).shards()


def test_the_fingerprint_follows_the_content_and_not_the_name(tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    file.write_text('{"id": 1, "text": "x"}')
    other.write_text('{"id": 1, "text": "x"}')
    before = JsonlCorpus(path=str(file)).fingerprint()
    assert JsonlCorpus(path=str(other)).fingerprint() == before
    file.write_text('{"id": 1, "text": "y"}')
    assert JsonlCorpus(path=str(file)).fingerprint() != before


ROWS = b"".join(b'{"id": %d, "text": "number %d"}\n' % (n, n) for n in range(300))


def compress(content: bytes, suffix: str) -> bytes:
    if suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()
    return {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix](content)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_files_are_read_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(lines, "SHARD_BYTES", 10)
    file = tmp_path / f"a.jsonl{suffix}"
    # Two compressed streams in one file, as several tools write them.
    file.write_bytes(compress(ROWS[:1000], suffix) + compress(ROWS[1000:], suffix))
    documents, bad = read_all(JsonlCorpus(path=str(file)))
    assert [document.source_id for document in documents] == [str(n) for n in range(300)]
    assert not bad


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_compressed_file_is_told_and_not_taken_for_a_short_one(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    file = tmp_path / f"a.jsonl{suffix}"
    file.write_bytes(compress(ROWS, suffix)[:-20] if damage == "cut" else b"no such format at all")
    with pytest.raises(UserError, match=r"knowledge\.corpus\.path: .*a\.jsonl.* cannot be read: .+; check"):
        read_all(JsonlCorpus(path=str(file)))


def test_other_file_systems_are_read_in_ranges_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe({"/corpus/a.jsonl": ROWS, "/corpus/b.jsonl.gz": gzip.compress(b'{"id": "b", "text": "x"}')})
    try:
        monkeypatch.setattr(lines, "SHARD_BYTES", 999)
        corpus = JsonlCorpus(path="memory://corpus/*.jsonl*")
        documents, bad = read_all(corpus)
        assert len(corpus.shards()) > 5
        assert [document.source_id for document in documents] == [*(str(n) for n in range(300)), "b"]
        assert not bad
        before = corpus.fingerprint()
        assert corpus.fingerprint() == before
        fs.pipe("/corpus/b.jsonl.gz", gzip.compress(b'{"id": "c", "text": "x"}'))
        assert corpus.fingerprint() != before
    finally:
        fs.rm("/corpus", recursive=True)
