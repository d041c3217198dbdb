"""``kard-ray knowledge``: build, update, versions, search, compact, clean up, on a real local Ray."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kard_ray.cli import app
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.upkeep import clean_up, find_knowledge_base

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def fact(n: int, text: str = "lies on the Odra") -> dict[str, Any]:
    return {"id": f"d{n}", "title": f"Town {n}", "text": f"Town {n} {text}.", "lang": ("en", "de")[n % 2]}


class Home:
    """A recipe over a corpus of ten facts, and its run directory."""

    def __init__(self, folder: Path) -> None:
        self.corpus, self.run = folder / "corpus.jsonl", folder / "run"
        self.recipe = str(folder / "towns.yaml")
        write(self.corpus, map(fact, range(10)))
        Path(self.recipe).write_text(
            f"name: towns\nknowledge:\n  embedder: null\n  workers: 1\n"
            f"  corpus: {{kind: jsonl, path: {self.corpus}, fields: {{language: lang}}}}\n"
        )

    def command(self, *arguments: str) -> str:
        done = CliRunner().invoke(app, ["knowledge", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def build(self) -> None:
        self.command(self.recipe, "--run-dir", str(self.run))

    def update(self, *options: str) -> str:
        return self.command("update", self.recipe, "--run-dir", str(self.run), *options)

    def search(self, *options: str) -> str:
        return self.command("search", str(self.run), "Which town lies on the Neisse?", "--k", "3", *options)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_corpus_is_brought_in_by_an_update_and_the_next_run_uses_it(home: Home) -> None:
    home.build()
    before = Pipeline(load_recipe(home.recipe), RunDirectory(str(home.run)))
    (first,) = versions(home)
    assert before.named_version() == first.number
    assert "Neisse" not in home.search()
    write(home.corpus, [fact(n, "lies on the Neisse") if n == 3 else fact(n) for n in range(1, 10)])
    said = home.update("--mirror")
    assert "update-2" in said
    assert "9 passages, 1 added, 2 removed, 0 embedded; before: build-1 with 10" in said
    assert "d3  Town 3" in home.search().splitlines()[0]
    assert "Neisse" not in home.search("--version", "build-1")
    assert "d3 " not in home.search("--language", "en")
    assert "nothing has changed" in home.update()

    after = Pipeline(load_recipe(home.recipe), RunDirectory(str(home.run)))
    (step,) = after.steps(["knowledge"])
    assert step.finished  # built by the update, in the folder of the first build
    assert after.knowledge_folder == before.knowledge_folder
    assert after.named_version() == versions(home)[-1].number
    assert before.named_version() == first.number


def versions(home: Home) -> list[Any]:
    from kard_ray.knowledge.versions import list_versions

    return list_versions(find_knowledge_base(str(home.run)))


def test_rows_of_an_update_that_cannot_be_used_are_told(home: Home) -> None:
    home.build()
    write(home.corpus, [fact(77), {"id": "bad", "lang": "en"}])
    assert "1 rows could not be used" in home.update()
    (path,) = home.run.glob("knowledge/*/versions/update-2-failures.parquet")
    (row,) = pq.read_table(path).to_pylist()
    assert row["reason"].startswith("field text")


def test_documents_are_deleted_by_id_from_the_command_line_and_from_a_file(
    home: Home, tmp_path: Path
) -> None:
    home.build()
    (tmp_path / "gone.txt").write_text("d1\nd2\n\n")
    home.corpus.unlink()  # it is not read
    said = home.update("--no-corpus", "--delete", "d7", "--delete-file", str(tmp_path / "gone.txt"))
    assert "7 passages, 0 added, 3 removed" in said


def test_versions_are_listed_compacted_and_given_up(home: Home) -> None:
    home.build()
    home.update("--no-corpus", "--delete", "d7")
    assert "compact-3" in home.command("compact", str(home.run))
    listed = home.command("versions", str(home.run))
    assert [tag for tag in ("build-1", "update-2", "compact-3") if tag in listed] == [
        "build-1",
        "update-2",
        "compact-3",
    ]
    assert "kept: build-1, compact-3" in home.command("cleanup", str(home.run), "--drop", "update-2")
    with pytest.raises(UserError, match="a manifest of the run names this version"):
        clean_up(str(home.run), older_than_days=0, drop=["build-1"])


def test_a_folder_without_a_knowledge_base_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a knowledge base nor a run directory with one"):
        find_knowledge_base(str(tmp_path))
