"""Build the files of a BM25 index from one version of a Lance table.

Two passes, neither of which holds the corpus: workers turn batches of texts into sorted parts on disk (terms, postings,
lengths); then the parts are merged term by term, a bounded number of postings at a time, into arrays that
:class:`kard_ray.knowledge.bm25.Bm25Index` maps into memory.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import uuid
import zlib
from array import array
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from kard_ray.knowledge.analysis import Analyzer, AnalyzerConfig, TermIds
from kard_ray.knowledge.bm25_kernels import count_postings, score_postings
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

FORMAT = 1  # of the files; an index of another format is built anew
_MERGED_AT_ONCE = 8_000_000  # postings (96 MB) of the merge
_WORDS_OF_A_WORKER = 500_000  # distinct words after which a worker forgets those it has seen
_START_A_WORKER = 50_000  # rows below which a second process (1 to 2 s to start) does not pay


class Bm25Config(Frozen):
    """The two constants of BM25; the defaults are LanceDB's and Lucene's."""

    # How much a repeated term still adds; 0: only whether it stands there
    k1: float = Field(1.2, ge=0, le=100)
    b: float = Field(0.75, ge=0, le=1)  # how much long passages are held back; 0: not at all


def build_bm25_index(
    dataset_uri: str,
    version: int,
    folder: str,
    *,
    analyzer: AnalyzerConfig,
    bm25: Bm25Config,
    workers: int = 2,
    batch_rows: int = 32_768,
) -> None:
    """Index the column ``content`` of the table at ``dataset_uri`` in ``version``; ``folder`` is replaced when done.

    A document's number is its offset in the scan of that version, so ``lance.dataset(dataset_uri, version).take``
    gives its row. The score of term t in document d is idf(t) * f * (k1 + 1) / (f + k1 * (1 - b + b * |d| / avg)),
    idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5)), where t stands f times in d and in n of N documents; |d| counts terms.
    As in LanceDB and Lucene, N and the average length leave out documents without any term.
    Raises UserError if the table or its version cannot be opened.
    """
    try:
        dataset = lance.dataset(dataset_uri, version=version)
        rows = dataset.count_rows()
    except (ValueError, OSError) as error:
        raise UserError(
            f"version {version} of the knowledge base {dataset_uri} cannot be opened: {error}"
        ) from error
    Analyzer(analyzer).tokens("")  # a mistake in the configuration is told before any work
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f"{target.name}.part-{uuid.uuid4().hex[:8]}")
    parts = made / "parts"
    parts.mkdir(parents=True)
    try:
        batches = dataset.to_batches(
            columns=["passage_id", "content"],
            batch_size=min(batch_rows, 8192),
            batch_readahead=2,
            fragment_readahead=1,
            scan_in_order=True,
        )
        workers = min(workers, 1 + rows // _START_A_WORKER)
        ids, starts = _write_parts(_joined(batches, batch_rows), analyzer, parts, workers)
        if starts[-1] != rows:
            raise AssertionError(f"scanned {starts[-1]} rows of {rows}")
        order = np.empty(rows, np.int32)
        order[pc.sort_indices(ids).to_numpy()] = np.arange(rows, dtype=np.int32)
        np.save(made / "order.npy", order)
        del ids, order
        postings = _merge(parts, starts, made, bm25)
        shutil.rmtree(parts)
        manifest = {
            "format": FORMAT,
            "version": version,
            "rows": rows,
            "postings": postings,
            "analyzer": analyzer.model_dump(mode="json"),
            "bm25": bm25.model_dump(mode="json"),
            "bytes": {path.name: path.stat().st_size for path in sorted(made.glob("*.npy"))},
        }
        (made / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _replace(made, target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _replace(made: Path, target: Path) -> None:
    """Put the finished folder in its place; processes that still read the old files keep them."""
    old = made.with_name(made.name.replace(".part-", ".old-"))
    if target.exists():
        target.rename(old)
    made.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _joined(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Tables of ``rows`` rows each (the last is shorter): a scan's batches end where a fragment ends."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        waiting.append(batch)
        held += batch.num_rows
        while held >= rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, rows).combine_chunks()
            waiting = table.slice(rows).to_batches()
            held -= rows
    if held:
        yield pa.Table.from_batches(waiting).combine_chunks()


# First pass: parts --------------------------------------------------------------------------------------------------


def _write_parts(
    tables: Iterator[pa.Table], analyzer: AnalyzerConfig, parts: Path, workers: int
) -> tuple[pa.ChunkedArray, list[int]]:
    """Write one part per table; return all passage ids in scan order and where each part starts (and the last ends)."""
    ids, starts = [], [0]
    pool: Executor | None = None
    if workers > 1:
        # Cutting texts needs the GIL, so processes; spawned, for the fork of a process with threads may hang.
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    running: set[Future[None]] = set()
    try:
        for number, table in enumerate(tables):
            ids.append(table["passage_id"].combine_chunks())
            args = (table["content"].combine_chunks(), analyzer, parts / f"{number:06}", starts[-1])
            starts.append(starts[-1] + table.num_rows)
            if pool is None:
                _write_part(*args)
                continue
            running.add(pool.submit(_write_part, *args))
            while len(running) > workers:  # one table waits, so that memory stays bounded
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        for future in running:
            future.result()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        _seen.clear()
    return pa.chunked_array(ids, pa.string()), starts


class _Growing(TermIds):
    """Gives each new term the next id."""

    def __init__(self, analyzer: Analyzer) -> None:
        super().__init__(analyzer)
        self.terms: dict[str, int] = {}

    def id_of(self, term: str) -> int:
        return self.terms.setdefault(term, len(self.terms))


_seen: dict[str, _Growing] = {}  # of this process, by analyzer: words stay known from batch to batch


def _write_part(texts: pa.Array, config: AnalyzerConfig, path: Path, start: int) -> None:
    """Count the terms of ``texts``, whose documents are numbered from ``start``, into files named ``path`` + suffix."""
    known = _seen.get(config.model_dump_json())
    if known is None or len(known.terms) > _WORDS_OF_A_WORKER:
        known = _seen[config.model_dump_json()] = _Growing(Analyzer(config))
    flat, ends = array("i"), np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        flat.extend(known.ids(text.as_py() or ""))
        ends[row] = len(flat)
    tokens = np.frombuffer(flat, np.int32) if flat else np.empty(0, np.int32)
    # Ids count upwards as words came; a part's terms are numbered in the order of their bytes, as in the whole index.
    used = np.flatnonzero(np.bincount(tokens[tokens >= 0], minlength=1))
    names = (
        pa.array(known.terms, pa.string()).take(pa.array(used)) if known.terms else pa.array([], pa.string())
    )
    order = pc.sort_indices(names).to_numpy()
    local = np.full(max(len(known.terms), 1), -1, np.int32)
    local[used[: len(names)][order]] = np.arange(len(names), dtype=np.int32)
    lengths, indptr, docs, frequencies = count_postings(tokens, ends, local, len(names), start)
    with pa.OSFile(f"{path}.terms", "wb") as file:
        table = pa.table({"term": names.take(pa.array(order))})
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    np.save(f"{path}.lengths.npy", lengths)
    np.save(f"{path}.indptr.npy", indptr)
    docs.tofile(f"{path}.docs")
    frequencies.tofile(f"{path}.freq")


# Second pass: merge -------------------------------------------------------------------------------------------------


def _merge(parts: Path, starts: list[int], made: Path, bm25: Bm25Config) -> int:
    """Merge the parts into the index's arrays; return the number of postings."""
    paths = [parts / f"{number:06}" for number in range(len(starts) - 1)]
    terms = pa.array([], pa.string())
    for path in paths:
        terms = pc.unique(pa.chunked_array([terms, *_terms(path).chunks], pa.string()))
    terms = terms.take(pc.sort_indices(terms))
    counts = np.zeros(len(terms) + 1, np.int64)
    norms = np.empty(starts[-1], np.float32)
    for path, start, end in zip(paths, starts, starts[1:], strict=False):
        # Both lists are sorted alike, so a part's terms take ascending numbers in the whole.
        numbers = pc.index_in(_terms(path), terms).to_numpy().astype(np.int32)
        np.save(f"{path}.numbers.npy", numbers)
        counts[numbers + 1] += np.diff(np.load(f"{path}.indptr.npy"))
        norms[start:end] = np.load(f"{path}.lengths.npy")
    np.save(made / "lengths.npy", norms.astype(np.int32))
    counted = np.count_nonzero(norms)
    average = norms.sum(dtype=np.float64) / max(counted, 1)
    norms = (bm25.k1 * (1 - bm25.b + bm25.b * norms / max(average, 1e-9))).astype(np.float32)
    idf = np.log1p((counted - counts[1:] + 0.5) / (counts[1:] + 0.5)).astype(np.float32)
    indptr = np.cumsum(counts)
    np.save(made / "indptr.npy", indptr)
    _write_terms(terms, made)
    postings = int(indptr[-1])
    with (made / "docs.npy").open("wb") as docs_file, (made / "scores.npy").open("wb") as scores_file:
        _header(docs_file, postings, np.int32)
        _header(scores_file, postings, np.float32)
        first = 0
        while first < len(terms):
            # As many terms as fit; at least one.
            last = int(np.searchsorted(indptr, indptr[first] + _MERGED_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), len(terms))
            docs = np.empty(indptr[last] - indptr[first], np.int32)
            scores = np.empty(len(docs), np.float32)
            cursor = indptr[first:last] - indptr[first]
            for path in paths:
                # Opened anew each time: a large corpus has more parts than a process may have files.
                numbers, part_indptr = (
                    np.load(f"{path}.{name}.npy", mmap_mode="r") for name in ("numbers", "indptr")
                )
                low, high = np.searchsorted(numbers, (first, last))
                begin, many = int(part_indptr[low]), int(part_indptr[high] - part_indptr[low])
                # Read, not mapped: the part's pages would stay in this process until the end.
                part_docs, part_freq = (
                    np.fromfile(f"{path}.{name}", np.int32, many, offset=4 * begin)
                    for name in ("docs", "freq")
                )
                span, ends = numbers[low:high], part_indptr[low : high + 1]
                score_postings(
                    span, ends, part_docs, part_freq, first, idf, norms, bm25.k1, cursor, docs, scores
                )
            docs.tofile(docs_file)
            scores.tofile(scores_file)
            first = last
    return postings


def _terms(path: Path) -> pa.ChunkedArray:
    with pa.memory_map(f"{path}.terms") as file:
        return pa.ipc.open_file(file).read_all()["term"]


def _header(file: BinaryIO, length: int, kind: type[np.generic]) -> None:
    """The first bytes of a .npy file whose values are written piece by piece afterwards."""
    described = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, described)  # type: ignore[no-untyped-call]


def _write_terms(terms: pa.Array, made: Path) -> None:
    """The vocabulary: its terms' bytes one after the other, and their checksums in ascending order to find them by."""
    names = [term.encode() for term in terms.to_pylist()]
    ends = np.zeros(len(names) + 1, np.int64)
    np.cumsum([len(name) for name in names], out=ends[1:])
    sums = np.fromiter((zlib.crc32(name) for name in names), np.uint32, len(names))
    order = np.argsort(sums, kind="stable").astype(np.int32)
    np.save(made / "term_bytes.npy", np.frombuffer(b"".join(names), np.uint8))
    np.save(made / "term_ends.npy", ends)
    np.save(made / "term_sums.npy", sums[order])
    np.save(made / "term_ids.npy", order)


__all__ = ["FORMAT", "Bm25Config", "build_bm25_index"]
