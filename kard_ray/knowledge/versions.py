"""Versions of a knowledge base: every build and update is a LanceDB version with a tag, and old ones can be read.

``versions/<tag>.json`` tells what a version holds; it is written last, so a version without it is unfinished work that
no reader sees.
"""

from __future__ import annotations

import json
import os
import posixpath
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import lance
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from kard_ray.knowledge.fragments import table_uri
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

_FOLDER = "versions"


class Version(Frozen):
    """One version of the table, by its tag."""

    tag: str  # build-1, update-2, ...
    number: int  # of the LanceDB version
    made_by: Literal["build", "update", "compact", "decontaminate"]
    passages: int
    added: int = 0  # passages, against the version before
    removed: int = 0
    embedded: int = 0  # passages that went through the embedder
    failures: int = 0  # rows of an update that could not be used, told in versions/<tag>-failures.parquet
    created: str  # UTC, ISO 8601


def list_versions(folder: str) -> list[Version]:
    """All finished versions, oldest first. Raises UserError when one cannot be read."""
    path = os.path.join(folder, _FOLDER)
    found = []
    for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
        if name.endswith(".json"):
            try:
                with open(os.path.join(path, name), encoding="utf-8") as source:
                    found.append(Version.model_validate_json(source.read()))
            except (OSError, ValidationError) as error:
                raise UserError(
                    f"knowledge base version {path}/{name} cannot be read ({type(error).__name__})."
                ) from error
    return sorted(found, key=lambda version: version.number)


def find_version(folder: str, wanted: str | int | None = None) -> Version:
    """The version with this tag or LanceDB number; None is the newest that is whole (not decontaminated).

    Raises UserError when there is none.
    """
    versions = list_versions(folder)
    if not versions:
        raise UserError(
            f"knowledge base {folder}: it has no finished version; build it with kard-ray knowledge."
        )
    if wanted is None:
        return [version for version in versions if version.made_by != "decontaminate"][-1]
    for version in versions:
        if version.tag == wanted or str(version.number) == str(wanted):
            return version
    known = ", ".join(f"{version.tag} ({version.number})" for version in versions)
    raise UserError(f"--version {wanted}: the knowledge base {folder} has {known}; choose one of them.")


def record_version(
    folder: str, number: int, made_by: Literal["build", "update", "compact", "decontaminate"], *,
    added: int = 0, removed: int = 0, embedded: int = 0,
    failures: pa.Table | None = None,
) -> Version:  # fmt: skip
    """Tag version ``number`` of the table and write down what it is; the last step of a build or an update."""
    dataset = lance.dataset(table_uri(folder), version=number)
    earlier = list_versions(folder)
    tag = f"{made_by}-{max((int(v.tag.rpartition('-')[2]) for v in earlier), default=0) + 1}"
    version = Version(
        tag=tag,
        number=number,
        made_by=made_by,
        passages=dataset.count_rows(),
        added=added,
        removed=removed,
        embedded=embedded,
        failures=failures.num_rows if failures is not None else 0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if tag in dataset.tags.list():  # of an attempt that was killed before its record was written
        dataset.tags.delete(tag)
    dataset.tags.create(tag, number)
    os.makedirs(os.path.join(folder, _FOLDER), exist_ok=True)
    if failures is not None and failures.num_rows:
        pq.write_table(failures, os.path.join(folder, _FOLDER, f"{tag}-failures.parquet"))
    target = os.path.join(folder, _FOLDER, f"{tag}.json")
    temporary = f"{target}.{uuid.uuid4().hex[:8]}.tmp"
    with open(temporary, "w", encoding="utf-8") as sink:
        sink.write(json.dumps(version.model_dump(), indent=2) + "\n")
    os.replace(temporary, target)
    return version


def newest_is(folder: str, number: int) -> lance.LanceDataset:
    """The table, its newest version holding what version ``number`` holds: commits after it are undone by a new one.

    A killed update leaves commits that no version names; a decontaminated version is none to go on from.
    """
    uri = table_uri(folder)
    dataset = lance.dataset(uri)
    if dataset.version != number:
        old: Any = lance.dataset(uri, version=number)
        old.restore()
        dataset = lance.dataset(uri)
    return dataset


def forget_versions(folder: str) -> None:
    """Before a first build: an earlier attempt that was killed late may have left a version."""
    shutil.rmtree(os.path.join(folder, _FOLDER), ignore_errors=True)


def forget_version(folder: str, tag: str) -> None:
    """Take a version's tag away, so that a clean-up deletes it. Raises UserError for the newest one."""
    version = find_version(folder, tag)
    if version == find_version(folder):
        raise UserError(f"--drop {tag}: it is the newest version of {folder}; it stays.")
    os.remove(os.path.join(folder, _FOLDER, f"{version.tag}.json"))
    lance.dataset(table_uri(folder)).tags.delete(version.tag)


def remove_untagged(folder: str, *, older_than: timedelta, orphans: bool = False) -> int:
    """Delete table versions without a tag and their indexes; tagged ones stay whole. Returns bytes freed.

    ``orphans`` also deletes files that no version names (of killed workers), however young: only for the one writer.
    """
    kept = {version.number for version in list_versions(folder)}
    dataset = lance.dataset(table_uri(folder))
    stats = dataset.cleanup_old_versions(
        older_than, delete_unverified=orphans, error_if_tagged_old_versions=False
    )
    freed = int(stats.bytes_removed)
    indexes = posixpath.join(folder, "bm25")
    for name in os.listdir(indexes) if os.path.isdir(indexes) else ():
        if name not in {str(number) for number in kept}:
            path = os.path.join(indexes, name)
            freed += sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
            shutil.rmtree(path)
    return freed
