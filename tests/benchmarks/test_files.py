from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kard_ray.benchmarks.files import MistakeError, fingerprint_of, parsed, parsed_lines, parsed_rows
from kard_ray.runtime.errors import UserError


def test_a_fingerprint_tells_contents_and_what_each_file_is(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("2")
    prints = {
        fingerprint_of(files) for files in ({"train": a}, {"test": a}, {"train": b}, {"train": a, "test": b})
    }
    assert len(prints) == 4
    (tmp_path / "c").write_text("1")
    assert fingerprint_of({"train": a}) == fingerprint_of({"train": tmp_path / "c"})
    with pytest.raises(UserError, match="does not exist"):
        fingerprint_of({"train": tmp_path / "none"})


def odd(item: int, number: int) -> int:
    if item % 2 == 0:
        raise MistakeError(f"field n: got {item}; expected an odd number.")
    return item


def test_every_mistake_is_listed_with_its_number(tmp_path: Path) -> None:
    assert parsed(tmp_path, "example", [(1, 1), (2, 3)], odd) == [1, 3]
    with pytest.raises(UserError) as error:
        parsed(tmp_path, "example", enumerate(range(60), start=1), odd)
    lines = str(error.value).split("\n")
    assert lines[0] == f"file {tmp_path}, example 1, field n: got 0; expected an odd number."
    assert lines[1].startswith(f"file {tmp_path}, example 3, ")
    assert len(lines) == 21
    assert "30 examples are wrong; 10 more" in lines[20]


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"n": 1}\n\n{"n": 2}\n')

    def numbered(row: dict[str, Any], number: int) -> tuple[int, int]:
        return row["n"], number

    assert parsed_lines(path, numbered) == [(1, 1), (2, 3)]


def row_of(row: dict[str, Any], number: int) -> tuple[int, int]:
    return row["n"], number


@pytest.mark.parametrize("name", ["q.jsonl", "q.json", "list.json", "q.parquet"])
def test_rows_are_the_same_in_every_kind_of_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = [{"n": 1}, {"n": 2}]
    if name == "q.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "list.json":
        path.write_text("\ufeff \n" + json.dumps(rows, indent=1), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert parsed_rows(path, row_of) == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.json", "[", "q.json is not JSON in UTF-8"),
        ("q.json", "[]", "q.json is empty; expected questions"),
        ("q.json", "[1]", "item 1, whole line: got 1; expected a JSON object"),
        ("q.parquet", "PAR1", "q.parquet is not Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        parsed_rows(tmp_path / name, row_of)
