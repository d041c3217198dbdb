"""Models by reference: a hub id, a local directory, or ``bundled:<name>``; safetensors only.

``trust_remote_code`` is never on anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path

from kard_ray.runtime.bundled_models import BUNDLED, bundled_names, converted, find_bundle, resolve_bundled
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.hub_models import MODEL_FILES, cached_hub_model, not_cached, resolve_hub

ModelRef = str
"""A hub id ("org/name", "org/name@revision"), a local directory, or "bundled:<name>"."""

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w][\w./-]*)?")
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack")
_NOT_FINGERPRINTED = ("manifest.json",)  # a run's manifest lies beside the model and is written after it
_WHOLE_FILE = 1 << 20  # bytes; larger files are sampled for the fingerprint
_SAMPLES, _SAMPLE_BYTES = 64, 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedModel:
    """A model that is on this machine now.

    ``path`` is a directory for transformers, vLLM or sentence-transformers. ``revision`` is the hub
    commit hash, ``package==version`` for a bundled model, or a fingerprint of a local directory.
    """

    ref: str
    path: str
    revision: str


class ModelStatus(StrEnum):
    """What resolving a reference would do."""

    READY = "ready"
    WILL_BE_CONVERTED = "will be converted"
    WILL_BE_DOWNLOADED = "will be downloaded"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCheck:
    """The answer of :func:`check_model`; ``reason`` is a sentence, None only for READY."""

    ref: str
    status: ModelStatus
    reason: str | None = None


def resolve_model(ref: ModelRef, *, cache_dir: Path | None = None) -> ResolvedModel:
    """Make ``ref`` available on this machine (download or convert it if needed) and return where it is.

    ``cache_dir`` holds converted bundled models (default :func:`default_cache_dir`); hub models go to
    the hub's own cache. Safe when several processes start at once: one converts, the others wait.
    Raises UserError if the reference does not resolve.
    """
    if ref.startswith(BUNDLED):
        directory, revision = resolve_bundled(ref, cache_dir or default_cache_dir())
    elif named := _as_directory(ref):
        directory, revision = named, ""
    else:
        directory = resolve_hub(ref)
        revision = directory.name
    _require_model_directory(directory, ref)
    return ResolvedModel(ref=ref, path=str(directory), revision=revision or fingerprint(directory))


def check_model(ref: ModelRef, *, cache_dir: Path | None = None) -> ModelCheck:
    """Say what :func:`resolve_model` would do, without converting, downloading or using the network."""
    try:
        return _check(ref, cache_dir or default_cache_dir())
    except UserError as error:
        return ModelCheck(ref=ref, status=ModelStatus.MISSING, reason=str(error))


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/kard_ray``, or ``~/.cache/kard_ray``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return root / "kard_ray"


def fingerprint(directory: Path) -> str:
    """Return ``dir-`` and 16 hex digits that change when the model in ``directory`` does.

    Hashes the names, sizes and contents of the model's files (weights, JSON, tokenizer); of a file over
    1 MiB, 64 evenly spaced blocks of 4 KiB, so that a directory of many GB takes milliseconds: training
    changes nearly every weight, but a hand edit of a few bytes in a large file can go unseen.
    """
    digest = hashlib.sha256()
    for path in _model_files(directory):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(directory).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_FILE:
                digest.update(file.read())
                continue
            for i in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return f"dir-{digest.hexdigest()[:16]}"


def _model_files(directory: Path) -> Iterator[Path]:
    """The files that make up the model, in a fixed order; hidden files and folders are left out."""
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if any(part.startswith(".") for part in relative.parts) or path.name in _NOT_FINGERPRINTED:
            continue
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in MODEL_FILES):
            yield path


# --- local directories


def _as_directory(ref: str) -> Path | None:
    """The directory ``ref`` names, or None if it is a hub id; UserError if it is neither."""
    path = Path(ref).expanduser()
    if ref and path.is_dir():
        return path.resolve()
    if "://" in ref:
        raise UserError(f"model {ref!r}: got a URL, expected a directory: copy it to a local disk.")
    if path.is_file():
        raise UserError(f"model {ref!r}: got a file, expected the directory that holds it.")
    if path.is_absolute() or ref.startswith((".", "~")) or ref.endswith("/"):
        raise UserError(f"model {ref!r}: there is no such directory.")
    if not _HUB_ID.fullmatch(ref):
        raise UserError(
            f"model {ref!r}: expected a hub id (org/name or org/name@revision), an existing directory, "
            f"or one of {', '.join(bundled_names())}."
        )
    return None


def _require_model_directory(directory: Path, ref: str) -> None:
    """Raise UserError unless ``directory`` holds config.json and complete safetensors weights."""
    names = sorted(path.name for path in directory.iterdir())
    where = f"model {ref!r} ({directory})" if str(directory) != ref else f"model {ref!r}"
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise UserError(f"{where}: holds a LoRA adapter, expected a whole model: merge it into its base.")
        raise UserError(f"{where}: has no config.json, expected a model directory as transformers saves it.")
    if not any(name.endswith(".safetensors") for name in names):
        others = [name for name in names if name.endswith(_OTHER_WEIGHTS)]
        if others:
            raise UserError(
                f"{where}: found only {', '.join(others)}, expected *.safetensors (other formats can run "
                "code when they are loaded): convert it with save_pretrained(..., safe_serialization=True)."
            )
        raise UserError(f"{where}: has no *.safetensors weights.")
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        missing = sorted(set(json.loads(index.read_text())["weight_map"].values()) - set(names))
        if missing:
            raise UserError(f"{where}: {', '.join(missing)} of the weights is missing: copy it again.")


# --- checking


def _check(ref: str, cache_dir: Path) -> ModelCheck:
    if ref.startswith(BUNDLED):
        name, bundle, folder, version = find_bundle(ref)
        if bundle.convert is None:
            _require_model_directory(folder / bundle.folder, ref)
        elif not converted(name, version, cache_dir).is_dir():
            reason = f"model {ref!r}: will be converted once into {cache_dir} (about 20 s)."
            return ModelCheck(ref=ref, status=ModelStatus.WILL_BE_CONVERTED, reason=reason)
        return ModelCheck(ref=ref, status=ModelStatus.READY)
    directory = _as_directory(ref)
    if directory is None:
        from huggingface_hub import is_offline_mode

        directory = cached_hub_model(ref)
        if directory is None and is_offline_mode():
            return ModelCheck(ref=ref, status=ModelStatus.MISSING, reason=not_cached(ref))
        if directory is None:
            reason = f"model {ref!r}: will be downloaded from the hub (not yet asked whether it is there)."
            return ModelCheck(ref=ref, status=ModelStatus.WILL_BE_DOWNLOADED, reason=reason)
    _require_model_directory(directory, ref)
    return ModelCheck(ref=ref, status=ModelStatus.READY)
