from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kard_ray.benchmarks.files import MistakeError, files_of_splits, fingerprint_of, parsed, parsed_lines
from kard_ray.runtime.errors import UserError


def test_only_the_files_that_are_there_are_taken(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text("x")
    found = files_of_splits(str(tmp_path), ("train", "dev"), ".jsonl", "ARC")
    assert found == {"dev": tmp_path / "dev.jsonl"}


def test_a_folder_without_any_file_is_told_with_the_field(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"field benchmark.path: .* none of train.jsonl, test.jsonl; .* GSM8K"
    ):
        files_of_splits(str(tmp_path), ("train", "test"), ".jsonl", "GSM8K")


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
