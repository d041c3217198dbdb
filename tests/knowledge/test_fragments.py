"""Units to fragments: retried, verified, committed once."""

from __future__ import annotations

from pathlib import Path

import lance
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.fragments import (
    FragmentWriter,
    WritingPlan,
    check_written,
    commit_first,
    plan_units,
    read_records,
    table_uri,
)
from kard_ray.knowledge.idset import IdSet
from kard_ray.knowledge.reading import RowGroup, ShardReader, place, read_markers
from kard_ray.runtime.errors import UserError
from tests.knowledge.test_reading import Numbers, plan


def group(shard: int, row: int, size: int) -> RowGroup:
    return RowGroup(file=f"{shard}.parquet", index=row, first=place(shard, row), ids=IdSet(size, 0))


@given(
    st.lists(st.lists(st.integers(1, 2048), max_size=4), max_size=5),
    st.randoms(use_true_random=False),
)
def test_units_hold_every_row_that_is_not_left_out_once(shards: list[list[int]], random) -> None:
    groups, places = [], []
    for number, sizes in enumerate(shards):
        row = 0
        for size in sizes:
            groups.append(group(number, row, size))
            places += range(place(number, row), place(number, row + size))
            row += size
    dropped = sorted(random.sample(places, random.randint(0, len(places))))
    units = plan_units(groups, np.array(dropped, np.int64))
    kept = []
    for unit in units:
        for one, left_out in zip(unit.groups, unit.left_out, strict=True):
            kept += sorted(
                set(range(one.first, one.first + one.ids.size)) - {one.first + at for at in left_out}
            )
    assert kept == sorted(set(places) - set(dropped))
    assert sum(unit.rows for unit in units) == len(kept)
    assert all(unit.rows for unit in units)
    assert len({unit.name for unit in units}) == len(units)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    ShardReader(plan(tmp_path / "read", Numbers()))({"number": 0, "shard": "0-3000"})
    return tmp_path


def test_a_unit_that_is_written_twice_is_committed_once(parts: Path) -> None:
    (shard,) = read_markers((parts / "read").as_uri(), ["0-3000"]).values()
    units = plan_units(shard.groups, np.array([place(0, 1), place(0, 2100)]))
    writing = WritingPlan(
        parts_url=(parts / "read").as_uri(),
        records_url=(parts / "written").as_uri(),
        table=table_uri(str(parts)),
        embedder=None,
    )
    writer = FragmentWriter(writing, units)
    for at in [*range(len(units)), 0]:  # the first one again, as a retried task does
        writer({"unit": at})
    written = [read_records(writing.records_url, units)[unit.name] for unit in units]
    good = [f"d{n}" for n in range(3000) if n % 7 != 3 and n % 11]
    expected = [identity for at, identity in enumerate(good) if at not in (1, 2100)]
    check_written(written, IdSet.of(expected), "here")
    commit_first(written, str(parts))
    found = lance.dataset(table_uri(str(parts))).to_table(columns=["passage_id"])["passage_id"].to_pylist()
    assert found == expected


def test_a_missing_passage_is_told_before_anything_is_committed(parts: Path) -> None:
    with pytest.raises(UserError, match="nothing was committed"):
        check_written([], IdSet.of(["a"]), "here")
