"""Corpus to knowledge base on a real local Ray: duplicates, resume, injected failures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from kard_ray.knowledge.build import build_knowledge_base
from kard_ray.knowledge.chunking import Chunker, ChunkingConfig, passage_id
from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.near_duplicates import DeduplicationConfig
from kard_ray.knowledge.readers.jsonl import JsonlCorpus
from kard_ray.knowledge.retrieval import KnowledgeBase
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from tests.tiny_models import tiny_bert

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

LONG = " ".join(f"The river Odra passes town number {n} in the north." for n in range(40))


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def build(folder: Path, **fields: Any) -> tuple[Artifact, Manifest]:
    config = KnowledgeConfig(
        corpus=JsonlCorpus(path=str(folder / "*.jsonl")), **({"embedder": None, "workers": 2} | fields)
    )
    artifact = RunDirectory(str(folder / "run")).artifact(
        ArtifactSpec(stage="knowledge", version=1, config={})
    )
    return artifact, build_knowledge_base(config, artifact)


def found_ids(artifact: Artifact) -> list[str]:
    dataset = KnowledgeBase(artifact.path).dataset
    return sorted(dataset.to_table(columns=["passage_id"])["passage_id"].to_pylist())


def test_the_first_of_equal_ids_and_of_equal_texts_stays(tmp_path: Path) -> None:
    rows = [{"id": f"d{n:04}", "text": f"Fact number {n} about rivers."} for n in range(3000)]
    write(tmp_path / "a.jsonl", rows)
    again = [
        {"id": "d0001", "text": "Another text under an old id."},
        {"id": "new", "text": "Fact  number 7 about\nrivers."},
    ]
    # Its text is that of a row that is left out for its id, so it is no duplicate of anything that stays.
    again += [{"id": "kept", "text": "Another text under an old id."}]
    write(tmp_path / "b.jsonl", again)
    artifact, manifest = build(tmp_path)
    assert found_ids(artifact) == sorted([row["id"] for row in rows] + ["kept"])
    assert manifest.counts["duplicates_source"] == manifest.counts["duplicates_exact"] == 1
    assert manifest.counts["passages_read"] == 3003
    duplicates = artifact.read_table("duplicates.parquet").to_pylist()
    assert duplicates == [{"passage_id": "new", "kept_passage_id": "d0007", "kind": "exact"}]
    (failure,) = artifact.read_table("failures.parquet").to_pylist()
    assert failure["where"] == "d0001"


def test_near_duplicates_go_only_when_asked_and_only_when_they_are_near(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(60)]
    base, near, far = (
        " ".join(words),
        " ".join([*words[:-1], "other"]),
        " ".join(words[30:] + words[:30][::-1]),
    )
    write(
        tmp_path / "a.jsonl", [{"id": "a", "text": base}, {"id": "b", "text": near}, {"id": "c", "text": far}]
    )
    artifact, _ = build(tmp_path)
    assert found_ids(artifact) == ["a", "b", "c"]
    (tmp_path / "more").mkdir()
    write(
        tmp_path / "more" / "a.jsonl",
        [{"id": "a", "text": base}, {"id": "b", "text": near}, {"id": "c", "text": far}],
    )
    artifact, manifest = build(tmp_path / "more", deduplication=DeduplicationConfig(near=0.8))
    assert found_ids(artifact) == ["a", "c"]
    assert manifest.counts["duplicates_near"] == 1


def test_documents_are_cut_in_passages_with_ids_of_their_own(tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path / "bert")
    chunking = ChunkingConfig(tokens=64, overlap_tokens=16)
    rows = [{"id": "new", "title": "New", "text": "Short."}, {"id": "odra", "title": "Odra", "text": LONG}]
    write(tmp_path / "a.jsonl", rows)
    artifact, manifest = build(
        tmp_path, embedder=str(bert), embedder_dtype="float32", chunking=chunking, workers=1
    )
    assert manifest.counts["documents"] == 2
    # What the document is cut into does not depend on what else the corpus holds.
    cut = Chunker(bert, chunking).spans(LONG)
    assert len(cut) > 3
    expected = {passage_id("odra", *span): LONG[span.start : span.end] for span in cut}
    found = KnowledgeBase(artifact.path).dataset.to_table().to_pylist()
    assert {row["passage_id"]: row["text"] for row in found if row["source_id"] == "odra"} == expected


def test_a_build_that_was_cut_short_goes_on_from_finished_shards_and_fragments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.jsonl", ({"id": f"d{n}", "text": f"Fact {n}."} for n in range(2500)))
    import kard_ray.knowledge.build as build_module

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "commit_first", stop)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path)
    (parts,) = tmp_path.glob("run/knowledge/*/_parts")
    before = {path: path.stat().st_mtime_ns for path in parts.rglob("*") if path.is_file()}
    times: dict[Path, int] = {}

    def look(*arguments: Any) -> int:
        times.update({path: path.stat().st_mtime_ns for path in parts.rglob("*") if path.is_file()})
        return original(*arguments)

    original = build_module.commit_first
    monkeypatch.setattr(build_module, "commit_first", look)
    artifact, manifest = build(tmp_path)
    assert times == before  # nothing was read or written a second time
    assert manifest.rows["passages"] == 2500
    assert not list(tmp_path.glob("run/knowledge/*/_parts"))
    dataset = KnowledgeBase(artifact.path).dataset
    named = {file.path for fragment in dataset.get_fragments() for file in fragment.metadata.files}
    assert {path.name for path in Path(artifact.path).glob("passages.lance/data/*")} == named  # no orphan
