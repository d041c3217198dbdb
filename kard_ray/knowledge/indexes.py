"""The indexes of a knowledge base: made, brought up to date, and checked for rows that they leave out."""

from __future__ import annotations

import posixpath
from typing import Protocol

import lance

from kard_ray.knowledge.analysis import AnalyzerConfig, full_text_index
from kard_ray.knowledge.bm25_build import Bm25Config, build_bm25_index
from kard_ray.knowledge.config import VectorIndexConfig
from kard_ray.knowledge.fragments import table_uri
from kard_ray.knowledge.opening import open_table
from kard_ray.knowledge.versions import newest_is
from kard_ray.runtime.errors import UserError

_FRAGMENTS = 16  # more of them, and a scan opens many small files: they are merged first
_SCALARS = ("passage_id", "source_id", "source")


class IndexSettings(Protocol):
    """What the indexes are made with: a KnowledgeConfig, or the Settings of a knowledge base."""

    @property
    def analyzer(self) -> AnalyzerConfig:
        """Of the full-text index and of BM25."""
        ...

    @property
    def bm25(self) -> Bm25Config:
        """Of the memory-mapped index."""
        ...

    @property
    def vectors(self) -> VectorIndexConfig:
        """Of the approximate index."""
        ...


def make_indexes(folder: str, settings: IndexSettings) -> int:
    """Merge small fragments, make all indexes, check them; returns the table's version."""
    from lancedb.index import BTree

    dataset = lance.dataset(table_uri(folder))
    if len(dataset.get_fragments()) > _FRAGMENTS:
        dataset.optimize.compact_files()
    table = open_table(folder)
    table.create_index("content", config=full_text_index(settings.analyzer))
    for column in _SCALARS:
        table.create_index(column, config=BTree())
    return update_indexes(folder, settings)


def update_indexes(folder: str, settings: IndexSettings) -> int:
    """Bring the indexes to every row of the newest version, make a vector index when the table has grown to need one.

    Returns the table's version. Raises UserError when an index leaves rows out.
    """
    table = open_table(folder)
    have = {tuple(index.columns) for index in table.list_indices()}
    rows = table.count_rows()
    # LanceDB trains a vector index on 256 rows or more.
    if (
        "vector" in table.schema.names
        and ("vector",) not in have
        and rows >= max(settings.vectors.exact_below, 256)
    ):
        from lancedb.index import IvfHnswSq, IvfPq

        partitions = max(1, rows // settings.vectors.partition_rows)
        kind = IvfPq if settings.vectors.kind == "ivf_pq" else IvfHnswSq
        table.create_index("vector", config=kind(distance_type="cosine", num_partitions=partitions))
    table.optimize()
    number = int(table.version)
    check_indexes(folder, number)
    return number


def compact_table(folder: str, version: int, settings: IndexSettings) -> int:
    """Merge fragments of ``version`` and renew its indexes; returns the new version."""
    newest_is(folder, version).optimize.compact_files()
    return make_indexes(folder, settings)


def check_indexes(folder: str, version: int) -> None:
    """Raises UserError when ``version`` has no full-text index or an index leaves rows out."""
    table = open_table(folder)
    table.checkout(version)
    indexes = table.list_indices()
    if not any(index.columns == ["content"] for index in indexes):
        raise UserError(
            f"knowledge base {folder}: it has no full-text index; run kard-ray knowledge compact on it."
        )
    for index in indexes:
        stats = table.index_stats(index.name)
        if stats is None or stats.num_unindexed_rows:
            left = "all rows" if stats is None else f"{stats.num_unindexed_rows} rows"
            raise UserError(
                f"knowledge base {folder}: index {index.name} leaves {left} out; run kard-ray knowledge compact on it."
            )


def bm25_folder(folder: str, version: int) -> str:
    """Where the memory-mapped BM25 index of one version of the table is."""
    return posixpath.join(folder, "bm25", str(version))


def make_bm25_index(folder: str, version: int, settings: IndexSettings, *, workers: int) -> None:
    """The memory-mapped BM25 index of one version of the table."""
    build_bm25_index(
        table_uri(folder),
        version,
        bm25_folder(folder, version),
        analyzer=settings.analyzer,
        bm25=settings.bm25,
        workers=workers,
    )
