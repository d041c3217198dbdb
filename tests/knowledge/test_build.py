"""The knowledge base from one's own files, on a real local Ray, with LanceDB."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lancedb
import pyarrow.parquet as pq
import pytest

from kard_ray.knowledge.build import build_knowledge_base
from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.passage import TABLE
from kard_ray.knowledge.readers.jsonl import JsonlCorpus
from kard_ray.knowledge.retrieval import KnowledgeBase, passage_texts
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from tests.tiny_models import tiny_bert

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

GOOD = 300


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
        corpus=JsonlCorpus(path=str(corpus)),
        embedder=str(bert),
        embedder_dtype="float32",
        workers=1,
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
    assert "seen before" in places["p007"]


def test_every_index_holds_every_row_and_the_version_is_named(built: tuple[Artifact, Manifest]) -> None:
    artifact, manifest = built
    table = lancedb.connect(artifact.path).open_table(TABLE)
    assert manifest.counts["knowledge_base_version"] == table.version
    assert manifest.counts["knowledge_base_tag"] == "build-1"
    assert table.tags.list()["build-1"]["version"] == table.version
    indexed = {column for index in table.list_indices() for column in index.columns}
    assert indexed == {"content", "passage_id", "source_id", "source"}
    for index in table.list_indices():
        stats = table.index_stats(index.name)
        assert stats is not None
        assert (stats.num_indexed_rows, stats.num_unindexed_rows) == (GOOD, 0)


def test_a_query_finds_its_passage_by_words_by_vector_and_by_both(built: tuple[Artifact, Manifest]) -> None:
    base = KnowledgeBase(built[0].path)
    asked = "{title}\n{text}".format(**passage(123))
    for mode in ("bm25", "vector", "hybrid"):
        assert base.retrieve([asked], 1, mode)["passage_id"].to_pylist() == ["p123"]
    assert base.retrieve([asked], 1, "vector")["score"][0].as_py() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("lines", [[], ["", "  "], BAD])
def test_a_corpus_without_a_good_row_is_a_users_error(lines: list[Any], bert: Path, tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", lines)
    with pytest.raises(UserError, match="no row of the corpus can be used"):
        build(tmp_path / "corpus.jsonl", bert, tmp_path / "run")
    assert not new_artifact(tmp_path / "run").finished
