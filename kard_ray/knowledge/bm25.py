"""Search passages by BM25: many queries at once, exact scores, files shared by all processes of a machine.

    build_bm25_index(uri, version, folder, analyzer=AnalyzerConfig(), bm25=Bm25Config())
    documents, scores = Bm25Index.open(folder).search(["Who crossed the Rubicon?"], 10)

The index is derived from one version of a LanceDB table and holds no text: a document's number is its row offset in
that version. For each term it stores the documents that have it and what the term adds to their score.
"""

from __future__ import annotations

import json
import os
import zlib
from array import array
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kard_ray.knowledge.analysis import Analyzer, AnalyzerConfig, TermIds
from kard_ray.knowledge.bm25_build import FORMAT, Bm25Config, build_bm25_index
from kard_ray.knowledge.bm25_kernels import score_documents, search_queries
from kard_ray.runtime.errors import UserError

__all__ = ["Bm25Config", "Bm25Index", "build_bm25_index"]

# Documents whose sums are kept at once: 256 kB, so that they stay in a core's second-level cache. 32,768 and 131,072
# were within 5 % on passages by the million.
_BLOCK = 65_536
_TOGETHER = 32  # queries of one task of a thread
_EVERY = np.zeros(0, np.bool_)


class Bm25Index:
    """A built index, opened for reading; may be shared between threads. Shape letters: Q queries, K results."""

    def __init__(self, folder: str, manifest: dict[str, Any]) -> None:
        """Use :meth:`open`."""
        self.folder = folder
        self.version: int = manifest["version"]  # of the table that it was built from
        self.rows: int = manifest["rows"]
        self.analyzer = AnalyzerConfig.model_validate(manifest["analyzer"])
        self.bm25 = Bm25Config.model_validate(manifest["bm25"])
        self._indptr, self._docs, self._scores, self._order = (
            _read_only(folder, name) for name in ("indptr", "docs", "scores", "order")
        )
        self._words = _Vocabulary(folder, Analyzer(self.analyzer))
        self._sums: list[npt.NDArray[np.float32]] = []  # working space that no thread uses now

    @classmethod
    def open(cls, folder: str, *, version: int | None = None) -> Bm25Index:
        """Open the index in ``folder``, which must be of the table's ``version`` if that is given.

        Takes a millisecond: files are mapped, not read. Raises UserError if the folder holds no whole index, or one
        of another version of the table or of the file format.
        """
        again = "build it again from the knowledge base"
        try:
            manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
            sizes, format_ = manifest["bytes"], manifest["format"]
        except FileNotFoundError:
            raise UserError(f"{folder} holds no BM25 index (no manifest.json): {again}.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"the BM25 index {folder} is damaged (manifest.json: {error!r}): {again}."
            ) from None
        if format_ != FORMAT:
            raise UserError(
                f"the BM25 index {folder} has format {format_}, this program reads {FORMAT}: {again}."
            )
        for name, size in sizes.items():
            path = Path(folder) / name
            found = path.stat().st_size if path.is_file() else None
            if found != size:
                raise UserError(
                    f"the BM25 index {folder} is damaged ({name} has {found} bytes, expected {size}): {again}."
                )
        if version is not None and manifest["version"] != version:
            raise UserError(
                f"the BM25 index {folder} was built from version {manifest['version']} of the knowledge base, "
                f"expected version {version}: {again}."
            )
        return cls(folder, manifest)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        *,
        allowed: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The k best documents of each query: (documents_QK, scores_QK), best first, equal scores by passage id.

        A query is text, never a query language; a word counts as often as it stands in it. Where fewer than k
        documents have one of its words, documents_QK is filled with -1 and scores_QK with 0. ``allowed`` [rows] says
        per document whether it may be found. ``threads``: how many search at once, by default one per core.
        Raises ValueError if ``allowed`` is not one truth value per document.
        """
        if allowed is not None and (allowed.shape != (self.rows,) or allowed.dtype != np.bool_):
            raise ValueError(f"allowed must be {self.rows} truth values, got {allowed.dtype}{allowed.shape}")
        documents = np.full((len(queries), max(k, 0)), -1, np.int32)
        scores = np.zeros(documents.shape, np.float32)
        if k < 1:
            return documents, scores
        threads = len(os.sched_getaffinity(0)) if threads is None else threads
        mask = np.ascontiguousarray(_EVERY if allowed is None else allowed).view()
        mask.flags.writeable = False  # always: numba would compile anew for arrays that can be written
        together = min(_TOGETHER, -(-len(queries) // max(threads, 1)))
        if threads <= 1 or len(queries) <= 1:
            self._search(self._ids(queries), mask, documents, scores)
            return documents, scores
        with ThreadPoolExecutor(threads) as pool:  # this thread cuts queries into terms while others search
            running = []
            for at in range(0, len(queries), together):
                span = slice(at, at + together)
                running.append(
                    pool.submit(self._search, self._ids(queries[span]), mask, documents[span], scores[span])
                )
            for future in running:
                future.result()
        return documents, scores

    def score(
        self, queries: Sequence[str], documents: Sequence[Collection[int] | npt.NDArray[Any]]
    ) -> list[npt.NDArray[np.float32]]:
        """The scores of each query's own ``documents``: to the last bit those that :meth:`search` finds.

        A document without any of the query's words has 0. Raises ValueError for a document that is not there.
        """
        ends = np.cumsum([len(of) for of in documents], dtype=np.int64)
        wanted = np.fromiter((document for of in documents for document in of), np.int32)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.rows):
            raise ValueError(f"documents are numbered from 0 to {self.rows - 1}")
        found = np.zeros(len(wanted), np.float32)
        score_documents(self._indptr, self._docs, self._scores, *self._ids(queries), wanted, ends, found)
        return np.split(found, ends[:-1]) if len(ends) else []

    def _ids(self, queries: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """All queries' term ids, one query after the other, and where each query ends."""
        flat, ends = array("i"), np.empty(len(queries), np.int64)
        for number, query in enumerate(queries):
            flat.extend(self._words.ids(query))
            ends[number] = len(flat)
        return np.array(flat, np.int32), ends

    def _search(
        self,
        ids: tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]],
        mask: npt.NDArray[np.bool_],
        documents: npt.NDArray[np.int32],
        scores: npt.NDArray[np.float32],
    ) -> None:
        tokens, ends = ids
        try:
            sums = self._sums.pop()
        except IndexError:
            sums = np.zeros(_BLOCK, np.float32)
        arrays = (self._indptr, self._docs, self._scores, self._order)
        search_queries(*arrays, mask, tokens, ends, 0, len(ends), sums, documents, scores)
        self._sums.append(sums)  # all zeros again


class _Vocabulary(TermIds):
    """The index's terms: found by checksum in mapped files, so that nothing is loaded when the index is opened."""

    def __init__(self, folder: str, analyzer: Analyzer) -> None:
        super().__init__(analyzer)
        self.bytes, self.ends, self.sums, self.numbers = (
            _read_only(folder, f"term_{name}") for name in ("bytes", "ends", "sums", "ids")
        )

    def id_of(self, term: str) -> int:
        name = term.encode()
        checksum = np.uint32(zlib.crc32(name))
        at = int(self.sums.searchsorted(checksum))
        while at < len(self.sums) and self.sums[at] == checksum:
            number = int(self.numbers[at])
            if self.bytes[self.ends[number] : self.ends[number + 1]].tobytes() == name:
                return number
            at += 1
        return -1


def _read_only(folder: str, name: str) -> npt.NDArray[Any]:
    """The array ``name``, mapped into memory."""
    values = np.asarray(np.load(os.path.join(folder, f"{name}.npy"), mmap_mode="r"))
    values.flags.writeable = False
    return values
