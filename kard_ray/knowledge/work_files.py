"""Small JSON files by which finished work is known: written whole or not at all, and listed at once."""

from __future__ import annotations

import json
import posixpath
import uuid
from collections.abc import Iterable
from typing import Any

import fsspec


def write_json(fs: Any, path: str, value: Any) -> None:
    """Write under a temporary name, then rename: a reader sees the whole file or none."""
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    with fs.open(temporary, "wb") as sink:
        sink.write(json.dumps(value).encode())
    fs.mv(temporary, path)


def read_json_files(url: str, names: Iterable[str]) -> dict[str, Any]:
    """The values of those of ``names`` (without ``.json``) that are in the folder ``url``."""
    fs, folder = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    if not fs.exists(folder):
        return {}
    present = {posixpath.basename(path) for path in fs.ls(folder, detail=False)}
    found = {}
    for name in names:
        if f"{name}.json" in present:
            with fs.open(posixpath.join(folder, f"{name}.json"), "rb") as source:
                found[name] = json.loads(source.read())
    return found
