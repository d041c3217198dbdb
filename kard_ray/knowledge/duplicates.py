"""Second phase of an ingest: which passages are left out because another one is there.

Three passes, each on what the one before left: documents whose id was seen before, passages whose text was (exact), and
passages nearly like an earlier one (candidates share a band of their MinHash; their shingles are then compared, so no
passage is dropped by chance). Keys are compared in ranges, so memory does not grow with the corpus, only with the
number of duplicates. The first in the corpus's order stays.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from kard_ray.knowledge.near_duplicates import DeduplicationConfig, jaccard
from kard_ray.knowledge.reading import BAND, EXACT, KEYS, SOURCE, RowGroup, ShardRead, read_group

KEYS_PER_RANGE = 4_000_000  # about 200 MB in a task
_PAIRS_PER_TASK = 20_000

DUPLICATES = pa.schema(
    [
        pa.field("place", pa.int64()),  # of the passage that is left out
        pa.field("first", pa.int64()),  # of the passage that stays
        pa.field("passages", pa.int32()),  # how many are left out from ``place`` on
        pa.field("kind", pa.string()),  # source, exact or near
        pa.field("id", pa.string()),
        pa.field("first_id", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """Rows of schema DUPLICATES, and all places that are left out, ascending."""

    table: pa.Table
    places: np.ndarray


def find_duplicates(
    url: str,
    shards: Sequence[ShardRead],
    config: DeduplicationConfig,
    *,
    keys_per_range: int = KEYS_PER_RANGE,
) -> Duplicates:
    """Compare the keys of all shards on Ray tasks."""
    files = [file for shard in shards for file in shard.keys_files]
    passages = sum(shard.passages for shard in shards)
    found = _equal_keys(url, files, SOURCE, _NOTHING, max(1, -(-passages // keys_per_range)))
    if config.exact:
        exact = _equal_keys(url, files, EXACT, _places(found), max(1, -(-passages // keys_per_range)))
        found = pa.concat_tables([found, exact])
    if config.near is not None:
        found = pa.concat_tables([found, _near(url, shards, files, _places(found), config, keys_per_range)])
    return Duplicates(table=found, places=_places(found))


_NOTHING = np.empty(0, np.int64)


def _places(duplicates: pa.Table) -> np.ndarray:
    starts = duplicates["place"].to_numpy()
    counts = duplicates["passages"].to_numpy()
    if not len(starts):
        return _NOTHING
    ends = np.cumsum(counts)
    return np.unique(np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1]))


def _equal_keys(url: str, files: Sequence[str], kind: int, gone: np.ndarray, ranges: int) -> pa.Table:
    """Passages with a key of ``kind`` that an earlier one has too; those at ``gone`` do not count."""
    task = ray.remote(num_cpus=1)(equal_keys_in_range)
    shared = ray.put(gone)
    tables = ray.get([task.remote(url, list(files), kind, shared, part, ranges) for part in range(ranges)])
    return pa.concat_tables(tables).sort_by([("place", "ascending"), ("first", "ascending")])


def equal_keys_in_range(
    url: str, files: Sequence[str], kind: int, gone: np.ndarray, part: int, ranges: int
) -> pa.Table:
    """Schema DUPLICATES for keys in the ``part``-th of ``ranges`` equal ranges."""
    keys = _read_keys(url, files, kind, part, ranges)
    keys = keys.filter(pa.array(~np.isin(keys["place"].to_numpy(), gone)))
    keys = keys.sort_by([("high", "ascending"), ("low", "ascending"), ("place", "ascending")])
    high, low = keys["high"].to_numpy(), keys["low"].to_numpy()
    repeats = np.zeros(keys.num_rows, bool)
    repeats[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    at = np.flatnonzero(repeats)
    first = np.maximum.accumulate(np.where(repeats, 0, np.arange(keys.num_rows)))[at]
    if kind == BAND:
        # Not every near pair of a run holds its first passage: each is compared with the one before it too.
        at, first = np.concatenate([at, at]), np.concatenate([first, at - 1])
    later, kept = keys.take(pa.array(at)), keys.take(pa.array(first))
    return pa.table(
        [
            later["place"],
            kept["place"],
            later["passages"],
            pa.array([{SOURCE: "source", EXACT: "exact", BAND: "near"}[kind]] * len(at), pa.string()),
            later["id"],
            kept["id"],
        ],
        schema=DUPLICATES,
    )


def _read_keys(url: str, files: Sequence[str], kind: int, part: int, ranges: int) -> pa.Table:
    fs, folder = fsspec.core.url_to_fs(url)
    low, high = part * 2**64 // ranges, (part + 1) * 2**64 // ranges - 1
    tables = []
    for file in files:
        with fs.open(posixpath.join(folder, file), "rb") as source:
            tables.append(
                pq.read_table(
                    source,
                    filters=(pc.field("kind") == pa.scalar(kind, pa.uint8()))
                    & (pc.field("high") >= pa.scalar(low, pa.uint64()))
                    & (pc.field("high") <= pa.scalar(high, pa.uint64())),
                )
            )
    return pa.concat_tables([KEYS.empty_table(), *tables])


def _near(
    url: str, shards: Sequence[ShardRead], files: Sequence[str], gone: np.ndarray, config: DeduplicationConfig,
    keys_per_range: int,
) -> pa.Table:  # fmt: skip
    """Passages whose shingles overlap an earlier one's by ``config.near`` or more."""
    bands = sum(shard.passages for shard in shards) * config.bands
    candidates = _equal_keys(url, files, BAND, gone, max(1, -(-bands // keys_per_range)))
    pairs = np.unique(
        np.stack([candidates["place"].to_numpy(), candidates["first"].to_numpy()], axis=1), axis=0
    )
    groups = [group for shard in shards for group in shard.groups]
    task: Any = ray.remote(num_cpus=1)(compare_pairs)
    shared = ray.put(groups)
    chunks = [pairs[at : at + _PAIRS_PER_TASK] for at in range(0, len(pairs), _PAIRS_PER_TASK)]
    results = ray.get([task.remote(url, shared, chunk, config) for chunk in chunks])
    dropped: set[int] = set()
    rows = []
    # In the corpus's order: a pair counts only while its first passage stays, so nothing is dropped for a dropped one.
    for row in sorted(
        (row for result in results for row in result), key=lambda row: (row["place"], row["first"])
    ):
        if row["place"] not in dropped and row["first"] not in dropped:
            dropped.add(row["place"])
            rows.append(row)
    return pa.Table.from_pylist(rows, schema=DUPLICATES)


def compare_pairs(
    url: str, groups: Sequence[RowGroup], pairs: np.ndarray, config: DeduplicationConfig
) -> list[dict[str, Any]]:
    """Rows of DUPLICATES for those ``pairs`` (place, first) whose texts really are near."""
    assert config.near is not None
    texts = _texts_at(url, groups, np.unique(pairs))
    rows = []
    for later, first in pairs.tolist():
        (identity, text), (first_identity, first_text) = texts[later], texts[first]
        if jaccard(text, first_text, config.shingle_words) >= config.near:
            rows.append(
                {"place": later, "first": first, "passages": 1, "kind": "near",
                 "id": identity, "first_id": first_identity}
            )  # fmt: skip
    return rows


def _texts_at(url: str, groups: Sequence[RowGroup], places: np.ndarray) -> dict[int, tuple[str, str]]:
    """``{place: (passage id, content)}``; reads each row group at most once."""
    starts = np.array([group.first for group in groups], np.int64)
    owner = np.searchsorted(starts, places, side="right") - 1
    found = {}
    for at in np.unique(owner):
        wanted = places[owner == at]
        table = read_group(url, groups[at], ["passage_id", "content"]).take(pa.array(wanted - starts[at]))
        for where, identity, content in zip(
            wanted.tolist(), table["passage_id"].to_pylist(), table["content"].to_pylist(), strict=True
        ):
            found[where] = (identity, content)
    return found
