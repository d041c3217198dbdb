"""The run directory: one keyed folder per artifact, sealed by a manifest that is written last.

Layout: ``<run>/<stage>/<key>/…files… + manifest.json``. The key is a hash of everything that decides
the artifact's content (stage version, configuration, keys of its inputs). A changed field therefore
leads to a new folder and never overwrites finished work; going back to the old field finds the old
folder again. A folder without a manifest is unfinished and is never read by another stage.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import ValidationError

from kard_ray import __version__
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

MANIFEST = "manifest.json"
PARTS = "_parts"
_LOCK = ".lock"
_TEMPORARY = ".tmp"  # a file that is being written; a killed run leaves it behind


class Manifest(Frozen):
    """What an artifact is, and what it was made from."""

    stage: str
    key: str
    stage_version: int
    config: dict[str, Any]
    inputs: dict[str, str]
    package_version: str
    rows: dict[str, int]  # file -> rows
    files: dict[str, int]  # file -> bytes
    counts: dict[str, Any] = {}  # what the stage counted: kept, dropped because of ..., tokens
    models: dict[str, str] = {}  # model reference -> resolved revision
    reads: dict[str, Any] = {}  # versions of what was read, such as the knowledge base's tag
    seed: int | None = None
    wall_seconds: float  # of the attempt that finished the artifact
    created: str  # UTC, ISO 8601


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactSpec:
    """An artifact to be made: everything that decides its content.

    ``config`` must be plain JSON values; ``inputs`` maps an upstream stage to its artifact's key.
    """

    stage: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """16 hex digits of the SHA-256 of the specification."""
        text = json.dumps(
            [self.stage, self.version, self.config, dict(self.inputs)], sort_keys=True, ensure_ascii=False
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Artifact:
    """One artifact's folder. Readers use it only after :meth:`verify`; one writer at a time."""

    def __init__(self, run: RunDirectory, spec: ArtifactSpec) -> None:
        self.run = run
        self.spec = spec
        self.reads: dict[str, Any] = {}  # written into the manifest
        self.path = posixpath.join(run.path, spec.stage, spec.key)
        self._started = time.monotonic()

    def __repr__(self) -> str:
        return f"{self.spec.stage}/{self.spec.key}"

    def at(self, *names: str) -> str:
        """Path of a file of this artifact on the run's file system."""
        return posixpath.join(self.path, *names)

    def url(self, *names: str) -> str:
        """Address that a worker on another machine can open (``file:///…``, ``s3://…``)."""
        return self.run.url(self.spec.stage, self.spec.key, *names)

    @property
    def finished(self) -> bool:
        """Whether the manifest, which is written last, is there."""
        return bool(self.run.fs.exists(self.at(MANIFEST)))

    def manifest(self) -> Manifest:
        """The manifest; raises UserError when it is missing or unreadable."""
        return self.run.read_manifest(self.at(MANIFEST))

    def verify(self) -> Manifest:
        """Check that every file is there with the size the manifest gives; raises UserError if not."""
        manifest = self.manifest()
        for name, size in manifest.files.items():
            path = self.at(name)
            found = self.run.fs.size(path) if self.run.fs.exists(path) else None
            if found != size:
                what = "is missing" if found is None else f"has {found} bytes"
                raise UserError(
                    f"artifact {self}: file {path} {what}, its manifest says {size} bytes; "
                    f"delete the folder {self.path} and run again to make it anew."
                )
        return manifest

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write ``table`` as the Parquet file ``name`` (zstd)."""
        self.run.fs.makedirs(self.path, exist_ok=True)
        with self.run.fs.open(self.at(name), "wb") as sink:
            pq.write_table(table, sink, compression="zstd")

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read the Parquet file ``name``; raises UserError when it cannot be read."""
        try:
            with self.run.fs.open(self.at(name), "rb") as source:
                return pq.read_table(source, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"artifact {self}: file {self.at(name)} cannot be read ({_first_line(error)}); "
                f"delete the folder {self.path} and run again to make it anew."
            ) from error

    def write_text(self, name: str, text: str) -> None:
        """Write a small text file."""
        self.run.fs.makedirs(posixpath.dirname(self.at(name)), exist_ok=True)
        with self.run.fs.open(self.at(name), "wb") as sink:
            sink.write(text.encode())

    def read_text(self, name: str) -> str:
        """Read a small text file."""
        with self.run.fs.open(self.at(name), "rb") as source:
            return bytes(source.read()).decode()

    def restart_clock(self) -> None:
        """Wall time counts from here."""
        self._started = time.monotonic()

    def seal(
        self,
        *,
        rows: Mapping[str, int],
        counts: Mapping[str, Any] | None = None,
        models: Mapping[str, str] | None = None,
        seed: int | None = None,
        rewritten: Collection[str] = (),
    ) -> Manifest:
        """Remove work files, list the files with their sizes, and write the manifest, last and atomically.

        ``rewritten`` are names of files that may change later without harm: they are not listed.
        """
        fs = self.run.fs
        if fs.exists(self.at(PARTS)):
            fs.rm(self.at(PARTS), recursive=True)
        fs.makedirs(self.path, exist_ok=True)
        fs.invalidate_cache()
        found = fs.find(self.path, detail=True)
        files = {
            posixpath.relpath(path, self.path): int(info["size"])
            for path, info in sorted(found.items())
            if posixpath.relpath(path, self.path) not in (MANIFEST, MANIFEST + _TEMPORARY, *rewritten)
        }
        manifest = Manifest(
            stage=self.spec.stage,
            key=self.spec.key,
            stage_version=self.spec.version,
            config=dict(self.spec.config),
            inputs=dict(self.spec.inputs),
            package_version=__version__,
            rows=dict(rows),
            files=files,
            counts=dict(counts or {}),
            models=dict(models or {}),
            reads=self.reads,
            seed=seed,
            wall_seconds=round(time.monotonic() - self._started, 1),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.run.write_atomically(self.at(MANIFEST), manifest.model_dump_json(indent=2))
        return manifest


class RunDirectory:
    """A run on any fsspec file system: a local path, ``s3://bucket/run``, ``memory://run``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.fs, self.path = fsspec.core.url_to_fs(root)

    def url(self, *names: str) -> str:
        """Address of a file or folder of the run that a worker on another machine can open."""
        return str(self.fs.unstrip_protocol(posixpath.join(self.path, *names)))

    @property
    def is_local(self) -> bool:
        """Whether the files can be opened by path on this machine."""
        return "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process of this machine makes artifacts here; a process that is killed lets go at once.

        Raises UserError when another one does. Object stores have no locks: there nothing is checked.
        """
        if not self.is_local:
            yield
            return
        lock = FileLock(posixpath.join(self.path, _LOCK))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"run directory {self.root} is in use by another kard-ray; wait until it has finished, or choose "
                "another directory with --run-dir."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def artifact(self, spec: ArtifactSpec) -> Artifact:
        """The folder for ``spec``, whether or not it exists yet."""
        return Artifact(self, spec)

    def write_atomically(self, path: str, text: str) -> None:
        """Write to a temporary name, then rename: a reader sees the whole file or none."""
        self.fs.makedirs(posixpath.dirname(path), exist_ok=True)
        temporary = path + _TEMPORARY
        with self.fs.open(temporary, "wb") as sink:
            sink.write(text.encode())
        self.fs.mv(temporary, path)

    def read_manifest(self, path: str) -> Manifest:
        """Parse the manifest at ``path``; raises UserError with the way out when it cannot be read."""
        try:
            with self.fs.open(path, "rb") as source:
                return Manifest.model_validate_json(source.read())
        except FileNotFoundError:
            folder = posixpath.dirname(path)
            raise UserError(
                f"artifact {folder} is not finished (no {MANIFEST}); run its stage first."
            ) from None
        except (ValidationError, OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"manifest {path} cannot be read ({_first_line(error)}); "
                f"delete the folder {posixpath.dirname(path)} and run again to make it anew."
            ) from error

    def why_stale(self, spec: ArtifactSpec) -> str:
        """Why ``spec`` has to be made although its stage has artifacts: the fields that changed.

        Returns "not made yet" when the stage has none. Compares with the newest finished artifact; names the
        manifests of others that cannot be read. Raises UserError when the own one cannot be.
        """
        manifests, broken = self._finished(spec)
        note = f"; cannot be read: {', '.join(broken)}" if broken else ""
        if not manifests:
            return f"not made yet{note}"
        last = max(manifests, key=lambda m: m.created)
        changes = [
            f"{name}: {_short(old)} -> {_short(new)}"
            for name, old, new in _differences(_plain(last.config), _plain(dict(spec.config)))
        ]
        changes += [
            f"input {name} is another one"
            for name in sorted({*last.inputs, *spec.inputs})
            if last.inputs.get(name) != spec.inputs.get(name)
        ]
        if last.stage_version != spec.version:
            changes.append(f"stage version: {last.stage_version} -> {spec.version}")
        return "changed: " + "; ".join(changes or ["nothing that is recorded"]) + note

    def finished(self, stage: str) -> list[Manifest]:
        """Manifests of the finished artifacts of ``stage``, the newest first; unreadable ones are left out."""
        found, _ = self._finished(ArtifactSpec(stage=stage, version=0, config={}))
        return sorted(found, key=lambda manifest: manifest.created, reverse=True)

    def _finished(self, spec: ArtifactSpec) -> tuple[list[Manifest], list[str]]:
        """Manifests of the stage, and the paths of those that cannot be read."""
        found: list[Manifest] = []
        broken: list[str] = []
        folder = posixpath.join(self.path, spec.stage)
        for key in self.fs.ls(folder, detail=False) if self.fs.exists(folder) else ():
            path = posixpath.join(key, MANIFEST)
            if not self.fs.exists(path):
                continue
            try:
                found.append(self.read_manifest(path))
            except UserError:
                if posixpath.basename(key) == spec.key:
                    raise
                broken.append(path)
        return found, broken


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Leaf fields that differ between two JSON values, by dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted({*old, *new}):
            found += _differences(old.get(name), new.get(name), f"{prefix}.{name}" if prefix else name)
        return found
    return [] if old == new else [(prefix, old, new)]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
