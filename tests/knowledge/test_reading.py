"""Shards to passages on disk: what an attempt leaves, and what a second attempt makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from kard_ray.knowledge.idset import IdSet
from kard_ray.knowledge.near_duplicates import DeduplicationConfig
from kard_ray.knowledge.passage import PASSAGES, BadRow, Document
from kard_ray.knowledge.reading import (
    GROUP_ROWS,
    ReadingPlan,
    ShardRead,
    ShardReader,
    marker_name,
    place,
    read_group,
    read_markers,
)


class Numbers:
    """A corpus whose shard "a-b" holds documents a to b-1; every seventh row is bad."""

    fail_at: int | None = None

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        first, last = map(int, shard.split("-"))
        for n in range(first, last):
            if n == self.fail_at:
                self.fail_at = None
                raise OSError("the disk went away")
            if n % 7 == 3:
                yield BadRow(where=f"row {n}", reason="bad")
            else:
                yield Document(source_id=f"d{n}", title="", text=f"Number {n}." if n % 11 else " ")


def plan(folder: Path, corpus: Numbers) -> ReadingPlan:
    return ReadingPlan(
        corpus=corpus,  # type: ignore[arg-type]
        chunking=None,
        tokenizer=None,
        deduplication=DeduplicationConfig(),
        max_characters=100,
        url=folder.as_uri(),
    )


def read(folder: Path, shards: list[str]) -> dict[int, ShardRead]:
    return read_markers(folder.as_uri(), shards)


SHARDS = ["0-5000", "5000-5003", "5003-5003"]
GOOD = [n for n in range(5003) if n % 7 != 3 and n % 11]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts")
    reader = ShardReader(plan(path, Numbers()))
    for number, shard in enumerate(SHARDS):
        reader({"number": number, "shard": shard})
    return path


def test_every_good_row_is_a_passage_and_every_bad_one_a_failure(folder: Path) -> None:
    shards = read(folder, SHARDS)
    tables = [read_group(folder.as_uri(), group) for shard in shards.values() for group in shard.groups]
    assert pa.concat_tables(tables)["passage_id"].to_pylist() == [f"d{n}" for n in GOOD]
    assert all(table.schema.equals(PASSAGES) for table in tables)
    assert [shard.documents + shard.failures for shard in shards.values()] == [5000, 3, 0]
    assert shards[2].groups == ()


def test_groups_are_bounded_and_know_their_place_and_ids(folder: Path) -> None:
    groups = [group for shard in read(folder, SHARDS).values() for group in shard.groups]
    assert max(group.ids.size for group in groups) == GROUP_ROWS
    full = [place(0, row) for row in range(0, sum(n < 5000 for n in GOOD), GROUP_ROWS)]
    assert [group.first for group in groups] == [*full, place(1, 0)]
    for group in groups:
        ids = read_group(folder.as_uri(), group, ["passage_id"])["passage_id"].to_pylist()
        assert group.ids == IdSet.of(ids)


def test_an_attempt_that_fails_counts_for_nothing(tmp_path: Path) -> None:
    corpus = Numbers()
    corpus.fail_at = 4500
    reader = ShardReader(plan(tmp_path, corpus))
    with pytest.raises(OSError, match="the disk went away"):
        reader({"number": 0, "shard": "0-5000"})
    assert read(tmp_path, ["0-5000"]) == {}
    reader({"number": 0, "shard": "0-5000"})
    (shard,) = read(tmp_path, ["0-5000"]).values()
    assert shard.passages == len([n for n in GOOD if n < 5000])


def test_a_shard_that_is_read_twice_counts_once(tmp_path: Path) -> None:
    reader = ShardReader(plan(tmp_path, Numbers()))
    for _ in range(2):
        reader({"number": 0, "shard": "0-50"})
    (shard,) = read(tmp_path, ["0-50"]).values()
    ids = [
        i for group in shard.groups for i in read_group(tmp_path.as_uri(), group)["passage_id"].to_pylist()
    ]
    assert ids == [f"d{n}" for n in GOOD if n < 50]


def test_another_shard_under_the_same_number_is_read_anew(folder: Path) -> None:
    assert set(read(folder, ["0-4999", *SHARDS[1:]])) == {1, 2}


def test_a_marker_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    (tmp_path / f"{marker_name(0, '0-5')}.json.abc.tmp").write_text(json.dumps({})[:1])
    assert read(tmp_path, ["0-5"]) == {}
