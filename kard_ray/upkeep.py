"""Look after a built knowledge base: update, list versions, compact, clean up, search."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kard_ray.knowledge.build import version_counts
from kard_ray.knowledge.filters import PassageFilter
from kard_ray.knowledge.indexes import compact_table, make_bm25_index
from kard_ray.knowledge.passage import TABLE
from kard_ray.knowledge.retrieval import KnowledgeBase, Mode, RetrievalConfig
from kard_ray.knowledge.settings import read_settings
from kard_ray.knowledge.update import update_knowledge_base
from kard_ray.knowledge.versions import (
    find_version,
    forget_version,
    list_versions,
    record_version,
    remove_untagged,
)
from kard_ray.lineage import BASE_ARTIFACT, folder_of
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import MANIFEST, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.session import ray_session


def find_knowledge_base(target: str) -> str:
    """The folder of a knowledge base: ``target`` itself, or that of the newest one in the run directory ``target``.

    Raises UserError when there is none.
    """
    if (Path(target) / "settings.json").is_file():
        return target
    run = RunDirectory(target)
    found: list[tuple[str, str]] = []
    folder = f"{run.path}/knowledge"
    for path in run.fs.ls(folder, detail=False) if run.fs.exists(folder) else ():
        if run.fs.exists(f"{path}/manifest.json"):
            manifest = run.read_manifest(f"{path}/manifest.json")
            found.append((manifest.created, folder_of(path, manifest)))
    if not found:
        raise UserError(
            f"{target}: it is neither a knowledge base nor a run directory with one; make one with kard-ray knowledge."
        )
    return max(found)[1]


def update(
    recipe_path: str, *, run_dir: str | None, overrides: Iterable[str], delete: Collection[str], mirror: bool,
    read_corpus: bool,
) -> None:  # fmt: skip
    """Bring the recipe's corpus into the run's knowledge base as a new version; prints what has changed."""
    recipe = load_recipe(recipe_path, list(overrides))
    run = RunDirectory(run_dir or f"runs/{recipe.name}")
    folder = find_knowledge_base(run.root)
    # Without reading it, the corpus need not be there.
    artifact = Pipeline(recipe, run).knowledge_artifact if read_corpus else None
    before = find_version(folder)
    with ray_session(recipe.cluster):
        if artifact is not None:
            artifact.restart_clock()
        version = update_knowledge_base(
            recipe.knowledge,
            folder,
            work_url=f"{run.fs.unstrip_protocol(folder)}/_update-{artifact.spec.key if artifact else 'deletions'}",
            read_corpus=read_corpus,
            delete=delete,
            mirror=mirror,
        )
    if version is None:
        print(f"nothing has changed: {before.tag} with {before.passages} passages stays the newest version")
        return
    if mirror and artifact is not None and not artifact.finished:
        # The version holds exactly the recipe's corpus now: the next run of the recipe reads it and builds nothing.
        artifact.seal(
            rows={TABLE: version.passages},
            counts=version_counts(version) | {BASE_ARTIFACT: posixpath.basename(folder)},
        )
    if version.failures:
        told = f"{folder}/versions/{version.tag}-failures.parquet"
        print(f"{version.failures} rows could not be used; {told} tells why")
    print(
        f"{version.tag} (LanceDB version {version.number}): {version.passages} passages, {version.added} added, "
        f"{version.removed} removed, {version.embedded} embedded; before: {before.tag} with {before.passages}"
    )


def _tags_in_use(folder: str) -> set[str]:
    """Tags that manifests of the run name: of the build that made the folder, and of updates that brought it on."""
    run = RunDirectory(posixpath.dirname(folder))
    found = set()
    for path in run.fs.ls(run.path, detail=False):
        if run.fs.exists(f"{path}/{MANIFEST}"):
            manifest = run.read_manifest(f"{path}/{MANIFEST}")
            if posixpath.basename(folder_of(path, manifest)) == posixpath.basename(folder):
                found.add(str(manifest.counts.get("knowledge_base_tag")))
    return found


def show_versions(target: str) -> None:
    """Print the versions of a knowledge base, oldest first."""
    folder = find_knowledge_base(target)
    table = Table(title=f"knowledge base {folder}")
    for name in ("tag", "LanceDB version", "passages", "added", "removed", "embedded", "created"):
        table.add_column(name, justify="left" if name in ("tag", "created") else "right")
    for version in list_versions(folder):
        numbers = (version.number, version.passages, version.added, version.removed, version.embedded)
        table.add_row(version.tag, *(f"{number:,}" for number in numbers), version.created)
    Console(width=None if Console().is_terminal else 120).print(table)


def compact(target: str, *, workers: int = 2) -> None:
    """Merge small fragments and bring every index up to date, as a new version with the same passages."""
    folder = find_knowledge_base(target)
    settings = read_settings(folder)
    number = compact_table(folder, find_version(folder).number, settings)
    make_bm25_index(folder, number, settings, workers=workers)
    version = record_version(folder, number, "compact")
    print(f"{version.tag} (LanceDB version {version.number}): {version.passages} passages")


def clean_up(target: str, *, older_than_days: float, drop: Collection[str]) -> None:
    """Delete versions without a tag that are older than so many days, and the tagged versions named in ``drop``."""
    folder = find_knowledge_base(target)
    for tag in drop:
        if tag in _tags_in_use(folder):
            raise UserError(f"--drop {tag}: a manifest of the run names this version; it stays.")
        forget_version(folder, tag)
    freed = remove_untagged(folder, older_than=timedelta(days=older_than_days))
    kept = ", ".join(version.tag for version in list_versions(folder))
    print(f"{freed / 2**20:.1f} MiB freed; kept: {kept}")


def search(
    target: str, query: str, *, k: int, mode: Mode, version: str | None, chosen: PassageFilter
) -> None:
    """Print the passages that ``query`` finds."""
    base = KnowledgeBase(find_knowledge_base(target), RetrievalConfig(), version=version)
    console = Console(highlight=False)
    for row in base.retrieve([query], k, mode, chosen).to_pylist():
        console.print(
            f"{row['rank'] + 1}. {row['score']:.3f}  {row['passage_id']}  {row['title']}", markup=False
        )
        console.print(f"   {row['text']}", markup=False)
