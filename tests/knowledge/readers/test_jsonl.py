from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.passage import PASSAGES, BadRow, Passage
from kard_ray.knowledge.readers.jsonl import MAX_CHARACTERS, JsonlCorpus, parse_line
from kard_ray.runtime.errors import UserError


@pytest.mark.parametrize(
    ("line", "passage"),
    [
        (b'{"id": "a", "title": "T", "text": "x"}', Passage(passage_id="a", title="T", text="x")),
        (b'{"id": 7, "text": "x"}', Passage(passage_id="7", title="", text="x")),
        (b'{"id": "a", "title": null, "text": "x"}\r\n', Passage(passage_id="a", title="", text="x")),
        ('{"id": "é", "text": "日本"}'.encode(), Passage(passage_id="é", title="", text="日本")),
        (b'\xef\xbb\xbf{"id": "a", "text": "x"}', Passage(passage_id="a", title="", text="x")),
        (b'{"id": "a", "text": "x", "more": {"y": 1}}', Passage(passage_id="a", title="", text="x")),
        (b'{"id": "a", "text": "\\ud83d\\ude00"}', Passage(passage_id="a", title="", text="😀")),
    ],
)
def test_a_good_line_is_a_passage(line: bytes, passage: Passage) -> None:
    assert parse_line(line, where="f:1") == passage


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
            json.dumps({"id": "a", "text": "x" * (MAX_CHARACTERS + 1)}).encode(),
            f"{MAX_CHARACTERS + 1} characters",
        ),
    ],
)
def test_a_bad_line_tells_where_and_why(line: bytes, reason: str) -> None:
    found = parse_line(line, where="corpus.jsonl:3")
    assert isinstance(found, BadRow)
    assert found.where == "corpus.jsonl:3"
    assert reason in found.reason
    assert len(found.reason) < 300
    found.reason.encode()  # it is written to a table


def test_a_text_of_exactly_the_limit_is_a_passage() -> None:
    line = json.dumps({"id": "a", "text": "x" * MAX_CHARACTERS}).encode()
    assert isinstance(parse_line(line, where="f:1"), Passage)


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(line: bytes) -> None:
    assert isinstance(parse_line(line, where="f:1"), Passage | BadRow)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional={"id": JSON, "title": JSON, "text": JSON}))
def test_whatever_is_read_can_be_written_to_a_table(row: dict[str, object]) -> None:
    found = parse_line(json.dumps(row).encode(), where="f:1")
    if isinstance(found, Passage):
        values = {"passage_id": found.passage_id, "title": found.title, "text": found.text}
        assert pa.Table.from_pylist([values], schema=PASSAGES).to_pylist() == [values]
    else:
        pa.array([found.reason], pa.string())


def test_lines_are_numbered_and_blank_ones_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_bytes(b'\n  \n{"id": "a", "text": "x"}\r\n\r\noops\n{"id": "b", "text": "y"}')
    found = list(JsonlCorpus(path=str(file)).read(str(file)))
    assert [row.passage_id if isinstance(row, Passage) else row.where for row in found] == [
        "a",
        f"{file}:5",
        "b",
    ]


def test_a_glob_gives_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl", "d.txt"):
        (tmp_path / name).write_text("")
    found = JsonlCorpus(path=str(tmp_path / "**/*.jsonl")).shards()
    assert found == [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "deep/c.jsonl")]


@pytest.mark.parametrize("pattern", ["*.jsonl", "none.jsonl", "folder"])
def test_a_path_without_a_file_is_told_with_its_field(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "folder").mkdir()
    corpus = JsonlCorpus(path=str(tmp_path / pattern))
    for call in (corpus.shards, corpus.fingerprint):
        with pytest.raises(
            UserError, match=r"knowledge\.corpus\.path: no file matches .*" + pattern.replace("*", r"\*")
        ):
            call()


def test_the_fingerprint_follows_the_content_and_not_the_name(tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    file.write_text('{"id": 1, "text": "x"}')
    other.write_text('{"id": 1, "text": "x"}')
    before = JsonlCorpus(path=str(file)).fingerprint()
    assert JsonlCorpus(path=str(other)).fingerprint() == before
    file.write_text('{"id": 1, "text": "y"}')
    assert JsonlCorpus(path=str(file)).fingerprint() != before
