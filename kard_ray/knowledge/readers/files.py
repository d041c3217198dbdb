"""Corpus files on any fsspec file system: find them, open them, tell whether they changed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from kard_ray.runtime.errors import UserError

FIELD = "recipe field knowledge.corpus.path"
_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst")
_CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum")  # as file systems call them


def file_system(path: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the absolute path in it. Raises UserError if there is none."""
    try:
        fs, inside = fsspec.core.url_to_fs(path)
    except (ImportError, OSError, ValueError) as error:
        raise UserError(f"{FIELD}: {path!r} cannot be opened: {_one_line(error)}.") from error
    return fs, os.path.abspath(inside) if isinstance(fs, LocalFileSystem) else inside


def find_files(path: str, *, in_folder: str | None = None) -> list[str]:
    """Absolute paths (or URLs) of the files that ``path`` names, sorted: a file or a glob.

    With ``in_folder``, a pattern of names, a folder stands for all files below it whose name fits. Names
    that begin with a dot are left out, as a shell does; in a folder those with an underscore too, as is the
    custom for Parquet.
    Raises UserError when there is none.
    """
    fs, inside = file_system(path)
    with told(path):
        if fs.isfile(inside):
            return [_url(fs, inside)]
        folder = in_folder is not None and fs.isdir(inside)
        pattern = f"{inside.rstrip('/')}/**/{in_folder}" if folder else inside
        found = [name for name, info in fs.glob(pattern, detail=True).items() if info["type"] == "file"]
    fixed = len(inside.rstrip("/") if folder else re.split(r"[*?\[]", pattern)[0].rpartition("/")[0])
    if "/." not in pattern[fixed:]:
        hidden = re.compile(r"/[._]" if folder else r"/\.")
        found = [name for name in found if not hidden.search(name, fixed)]
    if not found:
        what = f"folder {path!r} holds no file {in_folder}" if folder else f"no file matches {path!r}"
        raise UserError(f"{FIELD}: {what}.")
    return sorted(_url(fs, name) for name in found)


def find_in_folder(folder: str, names: Sequence[str]) -> str:
    """The first of ``names`` that is a file in ``folder``. Raises UserError if none is."""
    fs, inside = file_system(folder)
    with told(folder):
        for name in names:
            if fs.isfile(file := posixpath.join(inside, name)):
                return _url(fs, file)
    raise UserError(f"{FIELD}: expected {' or '.join(names)} in folder {folder!r}, found none.")


def _url(fs: Any, inside: str) -> str:
    return inside if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(inside))


def is_compressed(url: str) -> bool:
    """Whether the file's name says so; such a file can only be read from its beginning."""
    return url.endswith(_COMPRESSED)


def size_of(url: str) -> int | None:
    """Bytes as stored, None if the file system does not tell."""
    fs, inside = file_system(url)
    with told(url):
        return cast("int | None", fs.size(inside))


@contextmanager
def open_file(url: str) -> Iterator[IO[bytes]]:
    """The file as it is stored. What goes wrong, in the ``with`` block too, is a UserError that names it."""
    fs, inside = file_system(url)
    with told(url):
        raw = open(inside, "rb") if isinstance(fs, LocalFileSystem) else fs.open(inside, "rb")  # noqa: SIM115
        with raw if isinstance(raw, io.BufferedIOBase) else io.BufferedReader(raw) as stream:
            yield cast("IO[bytes]", stream)


@contextmanager
def open_plain(url: str) -> Iterator[IO[bytes]]:
    """The file's contents, decompressed if its name ends in .gz, .tgz, .bz2, .xz or .zst."""
    with open_file(url) as raw:
        stream: Any = raw
        if url.endswith((".gz", ".tgz")):
            stream = gzip.GzipFile(fileobj=raw)
        elif url.endswith(".bz2"):
            stream = bz2.BZ2File(raw)
        elif url.endswith(".xz"):
            stream = lzma.LZMAFile(raw)  # noqa: SIM115  # closed with raw
        elif url.endswith(".zst"):
            stream = io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
        yield stream


@contextmanager
def told(url: str) -> Iterator[None]:
    """Turn what a file system or a decompressor raises into a UserError that names ``url``."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, pa.ArrowException) as error:
        raise UserError(
            f"{FIELD}: {url} cannot be read: {_one_line(error)}; check that it is there and complete."
        ) from error


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300].rstrip(".")


def digest_of(url: str) -> bytes:
    """SHA-256 of a local file's contents; of a remote one, its size and checksum if the store tells one."""
    fs, inside = file_system(url)
    if not isinstance(fs, LocalFileSystem):
        with told(url):
            info = fs.info(inside)
        checksum = next((info[name] for name in _CHECKSUMS if info.get(name)), None)
        if checksum is not None:
            return hashlib.sha256(f"{info.get('size')} {checksum}".encode()).digest()
    with open_file(url) as source:
        return hashlib.file_digest(cast("Any", source), "sha256").digest()


def fingerprint_of(urls: Iterable[str]) -> str:
    """One hash over the contents of files, in their order; their names do not matter."""
    digest = hashlib.sha256()
    for url in urls:
        digest.update(digest_of(url))
    return digest.hexdigest()[:16]
