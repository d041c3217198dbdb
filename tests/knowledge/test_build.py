"""The knowledge base from one's own files, on a real local Ray, with LanceDB."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kard_ray.knowledge.build import KnowledgeConfig, build_knowledge_base, write_table
from kard_ray.knowledge.embedding import Embedder
from kard_ray.knowledge.passage import PASSAGES, TABLE, embedded
from kard_ray.knowledge.readers.jsonl import JsonlCorpus
from kard_ray.knowledge.retrieval import KnowledgeBase, passage_texts
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from tests.tiny_models import tiny_bert

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

GOOD = 300  # LanceDB trains a vector index on 256 rows or more


def passage(at: int) -> dict[str, str]:
    return {"id": f"p{at:03}", "title": f"Place {at}", "text": f"Place {at} has {1000 + 37 * at} people."}


def write(path: Path, lines: Iterable[dict[str, Any] | str]) -> None:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def new_artifact(folder: Path) -> Artifact:
    return RunDirectory(str(folder)).artifact(ArtifactSpec(stage="knowledge", version=1, config={}))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "bert")


def build(corpus: Path, bert: Path, folder: Path) -> tuple[Artifact, Manifest]:
    config = KnowledgeConfig(
        corpus=JsonlCorpus(path=str(corpus)), embedder=str(bert), embedder_dtype="float32", workers=2
    )
    artifact = new_artifact(folder)
    return artifact, build_knowledge_base(config, artifact)


BAD = [
    "{not json",
    "[1, 2]",
    {"title": "without an id", "text": "some text"},
    {"id": "no-text", "title": "a"},
    {"id": "empty", "text": "   "},
]
TWICE = [passage(0) | {"title": "Place 0 again"}, passage(7) | {"title": "Place 7 again"}]


@pytest.fixture(scope="module")
def built(local_ray: None, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Manifest]:
    folder = tmp_path_factory.mktemp("corpus")
    write(folder / "a.jsonl", [*map(passage, range(200)), *BAD[:2], "", TWICE[0]])
    write(folder / "b.jsonl", [*BAD[2:], *map(passage, range(200, GOOD)), TWICE[1]])
    write(folder / "c.jsonl", [])
    return build(folder / "*.jsonl", bert, folder / "run")


def test_good_rows_are_in_the_table_and_bad_ones_in_failures(built: tuple[Artifact, Manifest]) -> None:
    artifact, manifest = built
    assert manifest.rows == {TABLE: GOOD, "failures": len(BAD) + len(TWICE)}
    table = lancedb.connect(artifact.path).open_table(TABLE)
    rows = table.search().limit(GOOD + 1).to_arrow()
    assert sorted(rows["passage_id"].to_pylist()) == [passage(at)["id"] for at in range(GOOD)]
    texts = passage_texts(artifact.path, ["p000", "p007", "nobody's", "o'clock"])
    assert texts == {
        i: {"title": p["title"], "text": p["text"]} for i, p in (("p000", passage(0)), ("p007", passage(7)))
    }


def test_every_failure_names_its_place_and_its_reason(built: tuple[Artifact, Manifest]) -> None:
    artifact, _ = built
    rows = pq.read_table(artifact.at("failures.parquet")).to_pylist()
    assert sum(row["where"] in ("p000", "p007") for row in rows) == len(TWICE)
    places = {row["where"].rpartition("/")[2]: row["reason"] for row in rows}
    assert places["a.jsonl:201"].startswith("not JSON")
    assert places["a.jsonl:202"] == "not a JSON object"
    assert places["b.jsonl:1"].startswith("field id")
    assert places["b.jsonl:2"].startswith("field text")
    assert places["b.jsonl:3"].startswith("field text")
    assert "occurs 2 times" in places["p007"]


def test_both_searches_have_an_index_that_holds_every_row(built: tuple[Artifact, Manifest]) -> None:
    artifact, manifest = built
    table = lancedb.connect(artifact.path).open_table(TABLE)
    assert manifest.counts["knowledge_base_version"] == table.version
    indexed = {column for index in table.list_indices() for column in index.columns}
    assert indexed == {"content", "vector", "passage_id"}
    for index in table.list_indices():
        stats = table.index_stats(index.name)
        assert stats is not None
        assert (stats.num_indexed_rows, stats.num_unindexed_rows) == (GOOD, 0)


def test_a_query_finds_its_passage_by_words_and_by_vector(
    built: tuple[Artifact, Manifest], bert: Path
) -> None:
    artifact, _ = built
    assert KnowledgeBase(artifact.path).bm25("How many people has place 123?", 1)[0]["passage_id"] == "p123"
    encoder = Embedder(str(bert), "float32", 8, 0)
    content = "{title}\n{text}".format(**passage(123))
    vector = encoder.encode([content])[0]
    table = lancedb.connect(artifact.path).open_table(TABLE)
    hits = table.search(vector).distance_type("cosine").limit(3).to_list()
    same = [hit for hit in hits if hit["_distance"] < 1e-5]
    assert "p123" in {hit["passage_id"] for hit in same}
    stored = next(hit["vector"] for hit in hits if hit["passage_id"] == "p123")
    np.testing.assert_allclose(stored, vector, atol=1e-5)
    assert np.linalg.norm(stored) == pytest.approx(1, abs=1e-5)


def test_few_passages_need_no_vector_index(bert: Path, tmp_path: Path) -> None:
    write(tmp_path / "few.jsonl", map(passage, range(5)))
    artifact, manifest = build(tmp_path / "few.jsonl", bert, tmp_path / "run")
    assert manifest.rows == {TABLE: 5, "failures": 0}
    assert [hit["passage_id"] for hit in KnowledgeBase(artifact.path).bm25("place 3", 1)] == ["p003"]


@pytest.mark.parametrize("lines", [[], ["", "  "], BAD])
def test_a_corpus_without_a_good_row_is_a_users_error(lines: list[Any], bert: Path, tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", lines)
    with pytest.raises(UserError, match="no row of the corpus can be used"):
        build(tmp_path / "corpus.jsonl", bert, tmp_path / "run")
    assert not new_artifact(tmp_path / "run").finished


def test_a_table_of_an_earlier_attempt_is_replaced(tmp_path: Path) -> None:
    config = KnowledgeConfig(corpus=JsonlCorpus(path="unused"))

    def table(ids: Iterable[int]) -> pa.Table:
        rows = [
            passage(at) | {"passage_id": passage(at)["id"], "content": "x", "vector": [1.0, 0.0]}
            for at in ids
        ]
        return pa.Table.from_pylist(rows, schema=embedded(2))

    write_table(table(range(20)), str(tmp_path), config)
    write_table(table(range(10, 15)), str(tmp_path), config)
    found = lancedb.connect(str(tmp_path)).open_table(TABLE).search().limit(100).to_arrow()
    assert sorted(found["passage_id"].to_pylist()) == ["p010", "p011", "p012", "p013", "p014"]
    assert set(PASSAGES.names) <= set(found.column_names)
