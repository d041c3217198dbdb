"""Nearest vectors: compared one by one, and by LanceDB's approximate indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lancedb
import numpy as np
import pytest

from kard_ray.knowledge.config import VectorIndexConfig
from kard_ray.knowledge.filters import PassageFilter
from kard_ray.knowledge.passage import TABLE, Document
from kard_ray.knowledge.retrieval import KnowledgeBase
from tests.knowledge.rows import CONFIG, passage_rows, with_vectors, write_base

COUNT, DIMENSIONS = 600, 16
DOCUMENTS = [
    Document(source_id=f"d{n:03}", title="", text=f"Number {n}.", source=("even", "odd")[n % 2])
    for n in range(COUNT)
]
VECTORS = np.random.default_rng(0).normal(size=(COUNT, DIMENSIONS))
VECTORS[[10, 500]] = VECTORS[3]  # three passages with the same vector


class WithVectors(KnowledgeBase):
    """The query "n" has the vector of document n."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = VECTORS[[int(text) for text in texts]]
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def base_with(folder: Path, vectors: VectorIndexConfig) -> WithVectors:
    rows = with_vectors(passage_rows(DOCUMENTS), VECTORS)
    shuffled = rows.take(np.random.default_rng(1).permutation(COUNT))  # storage order decides nothing
    write_base(
        folder, [shuffled.slice(0, 250), shuffled.slice(250)], CONFIG.model_copy(update={"vectors": vectors})
    )
    return WithVectors(str(folder))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> WithVectors:
    return base_with(tmp_path_factory.mktemp("exact"), VectorIndexConfig())


def nearest(query: int, k: int, allowed: Sequence[int] = range(COUNT)) -> list[str]:
    vectors = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    order = sorted(allowed, key=lambda n: (-round(float(vectors[n] @ vectors[query]), 6), n))
    return [f"d{n:03}" for n in order[:k]]


def test_exact_search_finds_the_nearest_with_ties_by_id(exact: WithVectors) -> None:
    found = exact.retrieve(["7", "10", "599"], 5, "vector")
    for place, query in enumerate((7, 10, 599)):
        rows = found.filter(np.array(found["query_id"]) == str(place))
        assert rows["passage_id"].to_pylist() == nearest(query, 5)
        assert rows["score"][0].as_py() == pytest.approx(1, abs=1e-5)
    assert nearest(10, 3) == ["d003", "d010", "d500"]


def test_exact_search_looks_only_at_what_passes_the_filter(exact: WithVectors) -> None:
    found = exact.retrieve(["7"], 1000, "vector", PassageFilter(source=("even",)))
    assert found.num_rows == COUNT // 2
    assert found["passage_id"].to_pylist()[:9] == nearest(7, 9, range(0, COUNT, 2))


@pytest.mark.parametrize("kind", ["ivf_pq", "ivf_hnsw_sq"])
def test_above_a_size_an_index_finds_what_exact_search_finds(
    tmp_path: Path, exact: WithVectors, kind: str
) -> None:
    base = base_with(tmp_path, VectorIndexConfig(kind=kind, exact_below=500, partition_rows=256, probes=10))  # type: ignore[arg-type]
    assert ["vector"] in [i.columns for i in lancedb.connect(str(tmp_path)).open_table(TABLE).list_indices()]
    queries = [str(n) for n in range(0, COUNT, 40)]
    for chosen in (None, PassageFilter(source=("odd",))):
        best = exact.retrieve(queries, 3, "vector", chosen)
        found = base.retrieve(queries, 3, "vector", chosen)
        shared = set(
            zip(*(best[name].to_pylist() for name in ("query_id", "passage_id")), strict=True)
        ) & set(zip(*(found[name].to_pylist() for name in ("query_id", "passage_id")), strict=True))
        assert len(shared) >= 0.9 * best.num_rows  # PQ of 16 dimensions, 60 candidates compared exactly


def test_given_passages_have_the_cosine_of_a_search(exact: WithVectors) -> None:
    documents, cosines = exact.search(["7", "599"], 4, "vector")
    nothing = np.array([], np.int64)
    found = exact.score(["7", "3", "599"], [documents[0][::-1], nothing, documents[1]], "vector")
    np.testing.assert_allclose(found[0], cosines[0][::-1], atol=1e-6)
    assert found[1].tolist() == []
    np.testing.assert_allclose(found[2], cosines[1], atol=1e-6)
