"""Updates by document on a real local Ray: what is added, replaced, deleted, and what is not embedded again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pytest

import kard_ray.knowledge.update as update_module
from kard_ray.knowledge.build import build_knowledge_base
from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.indexes import check_indexes, compact_table, make_bm25_index
from kard_ray.knowledge.passage import TABLE
from kard_ray.knowledge.readers.jsonl import JsonlCorpus
from kard_ray.knowledge.retrieval import KnowledgeBase
from kard_ray.knowledge.settings import read_settings
from kard_ray.knowledge.update import update_knowledge_base
from kard_ray.knowledge.versions import (
    Version,
    find_version,
    forget_version,
    list_versions,
    record_version,
    remove_untagged,
)
from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory
from kard_ray.runtime.errors import UserError
from tests.tiny_models import tiny_bert

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def row(n: int, word: str = "fact") -> dict[str, Any]:
    return {"id": f"d{n:03}", "title": f"Number {n}", "text": f"This {word} is about number {n}."}


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


class Base:
    """A knowledge base of 300 documents in ``folder``, and ways to change it."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.home = folder
        self.fields = {"embedder": None, "workers": 1} | fields
        self.artifact = RunDirectory(str(folder / "run")).artifact(
            ArtifactSpec(stage="knowledge", version=1, config={})
        )
        self.folder = self.artifact.path

    def build(self) -> None:
        build_knowledge_base(
            self.config(write(self.home / "base.jsonl", map(row, range(300)))), self.artifact
        )

    def config(self, corpus: Path) -> KnowledgeConfig:
        return KnowledgeConfig(corpus=JsonlCorpus(path=str(corpus)), **self.fields)

    def update(self, rows: Iterable[dict[str, Any]], **options: Any) -> Version | None:
        changes = write(self.home / "changes.jsonl", rows)
        work = (Path(self.folder) / "_update").as_uri()
        return update_knowledge_base(self.config(changes), self.folder, work_url=work, **options)

    def texts(self, version: str | None = None) -> dict[str, str]:
        rows = (
            KnowledgeBase(self.folder, version=version)
            .dataset.to_table(columns=["passage_id", "text"])
            .to_pylist()
        )
        assert len({one["passage_id"] for one in rows}) == len(rows)
        return {one["passage_id"]: one["text"] for one in rows}


@pytest.fixture(scope="module")
def built(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Base:
    base = Base(tmp_path_factory.mktemp("built"))
    base.build()
    return base


@pytest.fixture
def base(built: Base, tmp_path: Path) -> Base:
    shutil.copytree(built.home, tmp_path, dirs_exist_ok=True)
    return Base(tmp_path)


def expected(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["text"] for one in rows}


def test_an_update_adds_and_replaces_and_embeds_nothing_twice(tmp_path: Path) -> None:
    base = Base(tmp_path, embedder=str(tiny_bert(tmp_path / "bert")), embedder_dtype="float32")
    base.build()
    version = base.update([row(5), row(6), row(7, "tale"), row(300)])
    assert version is not None
    assert (version.tag, version.added, version.removed, version.embedded) == ("update-2", 2, 1, 2)
    wanted = expected(map(row, range(300)))
    assert base.texts() == wanted | expected([row(7, "tale"), row(300)])
    assert base.texts("build-1") == wanted
    knowledge = KnowledgeBase(base.folder)
    assert knowledge.retrieve(["tale"], 2)["passage_id"].to_pylist() == ["d007"]
    assert knowledge.retrieve(["tale"], 1, "vector").num_rows == 1
    assert KnowledgeBase(base.folder, version="build-1").retrieve(["tale"], 2).num_rows == 0
    check_indexes(base.folder, version.number)
    assert not (Path(base.folder) / "_update").exists()
    base.artifact.verify()  # the files of the build are still there, whole


def test_deleting_and_mirroring(base: Base) -> None:
    gone = base.update([], read_corpus=False, delete=["d001", "d002", "nobody"])
    assert gone is not None
    assert (gone.added, gone.removed, gone.embedded) == (0, 2, 0)
    assert base.texts() == expected(row(n) for n in range(300) if n not in (1, 2))
    mirrored = base.update([row(1), row(4), row(5, "tale")], mirror=True)
    assert mirrored is not None
    assert base.texts() == expected([row(1), row(4), row(5, "tale")])
    assert mirrored.added == 2
    assert [version.tag for version in list_versions(base.folder)] == ["build-1", "update-2", "update-3"]


def test_an_update_that_changes_nothing_makes_no_version(base: Base) -> None:
    assert base.update(map(row, range(10))) is None
    assert [version.tag for version in list_versions(base.folder)] == ["build-1"]


def test_a_killed_update_leaves_the_old_version_and_can_be_repeated(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # killed after the commit, before indexes and tag
        patch.setattr(update_module, "update_indexes", stop)
        with pytest.raises(KeyboardInterrupt):
            base.update([row(0, "tale"), row(400)])
    assert base.texts() == expected(map(row, range(300)))
    assert KnowledgeBase(base.folder).retrieve(["tale"], 1).num_rows == 0
    version = base.update([row(0, "tale"), row(400)])
    assert version is not None
    assert version.added == 2
    assert base.texts() == expected(map(row, range(300))) | expected([row(0, "tale"), row(400)])


def test_other_settings_are_refused(base: Base) -> None:
    base.fields["query_prefix"] = "query: "
    with pytest.raises(UserError, match="other settings \\(query_prefix\\)"):
        base.update([row(0, "tale")])


def test_an_update_that_would_leave_nothing_is_refused(base: Base) -> None:
    with pytest.raises(UserError, match="leave no passage"):
        base.update([], read_corpus=False, delete=[row(n)["id"] for n in range(300)])
    assert len(base.texts()) == 300


def test_cleaning_up_and_compacting_keep_tagged_versions(base: Base) -> None:
    base.update([row(0, "tale")])
    base.update([row(1, "tale")])
    number = compact_table(base.folder, find_version(base.folder).number, read_settings(base.folder))
    make_bm25_index(base.folder, number, read_settings(base.folder), workers=1)
    compacted = record_version(base.folder, number, "compact")
    assert compacted.passages == 300
    before = {version.tag: base.texts(version.tag) for version in list_versions(base.folder)}
    assert len(before) == 4
    freed = remove_untagged(base.folder, older_than=timedelta(0))
    assert freed > 0
    assert {version.tag: base.texts(version.tag) for version in list_versions(base.folder)} == before
    base.artifact.verify()
    forget_version(base.folder, "update-2")
    remove_untagged(base.folder, older_than=timedelta(0))
    with pytest.raises(UserError, match=r"build-1 .*update-3"):
        find_version(base.folder, "update-2")
    assert base.texts("build-1") == before["build-1"]
    numbers = {one["version"] for one in lancedb.connect(base.folder).open_table(TABLE).list_versions()}
    assert numbers == {version.number for version in list_versions(base.folder)}
    with pytest.raises(UserError, match="it is the newest version"):
        forget_version(base.folder, compacted.tag)
