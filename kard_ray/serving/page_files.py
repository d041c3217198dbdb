"""The page's files, read once from the package; nothing else of the file system can be asked for."""

from __future__ import annotations

from importlib import resources

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
INDEX = "index.html"


def page_files() -> dict[str, tuple[bytes, str]]:
    """(content, media type) by name; files of other types are left out."""
    found = {}
    folder = resources.files("kard_ray.serving") / "web"
    if not folder.is_dir():
        return {}
    for file in folder.iterdir():
        media_type = _TYPES.get(f".{file.name.rpartition('.')[2]}")
        if media_type is not None and file.is_file():
            found[file.name] = (file.read_bytes(), media_type)
    return found
