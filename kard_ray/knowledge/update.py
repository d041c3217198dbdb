"""Update a knowledge base by document: add, replace, delete; one commit, and unchanged passages are not embedded again.

A document of the update replaces all passages of the document with the same id. Readers stay on their tagged version
until the new one is finished; a killed update leaves the old one as it was, and the same command goes on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

import fsspec
import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata

from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.fragments import Written, is_in, table_uri
from kard_ray.knowledge.indexes import make_bm25_index, update_indexes
from kard_ray.knowledge.ingest import Ingested, ingest
from kard_ray.knowledge.reading import read_group
from kard_ray.knowledge.settings import Settings, read_settings, settings_of
from kard_ray.knowledge.versions import Version, find_version, newest_is, record_version
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model


def update_knowledge_base(
    config: KnowledgeConfig, folder: str, *, work_url: str, read_corpus: bool = True, delete: Collection[str] = (),
    mirror: bool = False,
) -> Version | None:  # fmt: skip
    """Bring the documents of ``config.corpus`` into the knowledge base in ``folder``; returns the new version.

    ``delete`` are ids of documents to remove; ``mirror`` removes every document that the corpus does not have; without
    ``read_corpus`` nothing is added. Returns None when nothing has changed. Needs Ray when it reads the corpus. Raises
    UserError when the update would leave no passage.
    """
    model = resolve_model(config.embedder) if config.embedder is not None else None
    _require_same_settings(folder, settings_of(config, model))
    base = find_version(folder)
    written: tuple[Written, ...] = ()
    failures: pa.Table | None = None
    gone = set(delete)
    if read_corpus:
        made = ingest(
            config,
            model,
            work_url=work_url,
            folder=folder,
            base_version=base.number,
            label="knowledge update",
        )
        written = made.written
        failures = pa.concat_tables(made.failures())
        if mirror:
            gone |= _sources(folder, base.number) - _sources_read(made)
    elif mirror:
        raise UserError("knowledge update: --mirror needs the corpus; leave --no-corpus away.")
    stale = stale_passages(written)
    if not stale and not gone and not any(unit.fragment for unit in written):
        _remove(work_url)
        return None
    removed = commit_update(folder, base.number, written, passages=stale, sources=gone)
    number = update_indexes(folder, config)
    make_bm25_index(folder, number, config, workers=config.workers)
    embedded = sum(unit.embedded for unit in written)
    version = record_version(
        folder,
        number,
        "update",
        added=embedded,
        removed=removed,
        embedded=embedded if config.embedder is not None else 0,
        failures=failures,
    )
    _remove(work_url)
    return version


def _require_same_settings(folder: str, wanted: Settings) -> None:
    there = read_settings(folder).model_dump()
    changed = [name for name, value in wanted.model_dump().items() if there[name] != value]
    if changed:
        raise UserError(
            f"knowledge base {folder} was built with other settings ({', '.join(changed)}); "
            "update it with the settings it has, or build a new one."
        )


def stale_passages(written: Iterable[Written]) -> list[str]:
    """Ids of passages that the base has and the update replaces or no longer has, in order."""
    units = list(written)
    seen = {identity for unit in units for identity in unit.seen}
    # A document may lie in two units: what one of them misses the other may have.
    missing = {identity for unit in units for identity in unit.missing} - seen
    return sorted(missing | {identity for unit in units for identity in unit.stale})


def commit_update(
    folder: str, base: int, written: Sequence[Written], *, passages: Sequence[str], sources: Collection[str]
) -> int:
    """One commit on top of version ``base``: delete ``passages`` and ``sources``, add the fragments of ``written``.

    Commits after ``base``, of a killed update, are undone first. Returns how many rows were deleted.
    """
    dataset = newest_is(folder, base)
    before = dataset.count_rows()
    clauses = [
        is_in(column, sorted(values))
        for column, values in (("passage_id", passages), ("source_id", sources))
        if values
    ]
    new = [FragmentMetadata.from_json(json.dumps(unit.fragment)) for unit in written if unit.fragment]
    added = sum(unit.embedded for unit in written)
    emptied: list[int] = []
    changed: list[FragmentMetadata] = []
    if clauses:
        where = " OR ".join(clauses)
        for fragment in dataset.get_fragments():
            if fragment.count_rows(where):
                rest = fragment.delete(where)
                if rest is None:
                    emptied.append(fragment.fragment_id)
                else:
                    changed.append(rest)
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=emptied, updated_fragments=changed, new_fragments=new
    )
    if not new and len(emptied) == len(dataset.get_fragments()):
        raise UserError(f"knowledge base {folder}: the update would leave no passage; nothing was changed.")
    after = lance.LanceDataset.commit(table_uri(folder), operation, read_version=dataset.version)
    return int(before + added - after.count_rows())


def _sources(folder: str, version: int) -> set[str]:
    """Ids of all documents of a version: 100 bytes each in memory."""
    dataset = lance.dataset(table_uri(folder), version=version)
    found: set[str] = set()
    for batch in dataset.to_batches(columns=["source_id"]):
        found.update(batch["source_id"].unique().to_pylist())
    return found


def _sources_read(made: Ingested) -> set[str]:
    found: set[str] = set()
    for shard in made.shards:
        for group in shard.groups:
            found.update(read_group(made.parts_url, group, ["source_id"])["source_id"].unique().to_pylist())
    return found


def _remove(work_url: str) -> None:
    fs, folder = fsspec.core.url_to_fs(work_url)
    if fs.exists(folder):
        fs.rm(folder, recursive=True)
