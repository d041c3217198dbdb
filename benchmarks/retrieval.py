"""BM25 retrieval beside its peers: this project's index, LanceDB's full-text index, bm25s and Pyserini (Lucene).

Each system indexes and searches each corpus in processes of its own, so that the peak of memory is its own; the top 10
of every query are kept and compared. Query rates include cutting the query into terms. k1 = 1.2 and b = 0.75
everywhere; bm25s and Pyserini use their own English stemmers and stop lists, so their rankings differ a little.

    .venv/bin/python benchmarks/retrieval.py                        # all corpora: about half an hour
    .venv/bin/python benchmarks/retrieval.py --corpora scifact strategyqa
    .venv/bin/python benchmarks/retrieval.py --corpora synthetic --passages 100000 --systems kard_ray bm25s
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from retrieval_parts.corpora import DATA, judgements, lines, scifact, strategyqa, synthetic
from retrieval_parts.systems import PYSERINI, SYSTEMS, THREADS, install_pyserini

SECONDS = 6.0  # of each rate
TOGETHER = 400  # queries of one batch


def rate(search: Callable[[list[str]], Any], queries: list[str], together: int) -> float:
    """Queries per second over at least SECONDS, ``together`` at a time, after a warm-up."""
    search(queries[:together])
    for query in queries[: 20 if together == 1 else 0]:
        search([query])
    done, at, started = 0, 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        asked = queries[at : at + together]
        search(asked)
        done += len(asked)
        at = at + together if at + together < len(queries) else 0
    return done / (time.perf_counter() - started)


def step(name: str, system: str, folder: Path) -> None:
    """What a process of its own does: ``index`` or ``search``; prints one line of JSON last."""
    made = SYSTEMS[system]()
    told: dict[str, Any] = {}
    if name == "index":
        started = time.perf_counter()
        made.index(folder)
        told["seconds"] = time.perf_counter() - started
    else:
        queries = json.loads((folder / "queries.json").read_text())
        started = time.perf_counter()
        made.open(folder)
        made.search(["any words"], 1)
        told["open"] = time.perf_counter() - started
        for kind, asked in queries.items():
            told[kind] = {
                "one": rate(lambda few: made.search(few, 1), asked, 1),
                "many": rate(lambda some: made.search(some, THREADS), asked, TOGETHER),
            }
            if system == "kard_ray":
                told[kind]["cutting"] = rate(made.built._ids, asked, TOGETHER)
            (folder / f"{system}.{kind}.json").write_text(
                json.dumps(made.ids(folder, made.search(asked[:1000], THREADS)))
            )
    print(json.dumps(told))


def run(name: str, system: str, folder: Path) -> dict[str, Any]:
    """:func:`step` in a process of its own; adds ``megabytes``, the peak of it and its children together."""
    import psutil

    paths = [str(Path(__file__).resolve().parents[1]), *([str(PYSERINI)] if system == "Pyserini" else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "RUST_LOG": "error"}
    command = [sys.executable, __file__, "--step", name, "--systems", system, "--folder", str(folder)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        peak = 0
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                family = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(member.memory_info().rss for member in family))
            except psutil.Error:
                pass
            time.sleep(0.05)
        assert process.stdout is not None
        output = process.stdout.read().strip().splitlines()
        if process.returncode:
            errors.seek(0)
            return {"error": (errors.read().strip().splitlines() or ["no message"])[-1]}
    return json.loads(output[-1]) | {"megabytes": peak >> 20}


def prepare(corpus: str, passages: int, folder: Path) -> int:
    """Write a corpus as LanceDB's table and as JSON lines, and its queries; return how many passages."""
    import lance

    tables, queries = (
        synthetic(passages)
        if corpus == "synthetic"
        else {"scifact": scifact, "strategyqa": strategyqa}[corpus]()
    )
    schema = pa.schema([("passage_id", pa.string()), ("content", pa.string())])
    (folder / "jsonl").mkdir()
    rows = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for part in tables:
            with (folder / "jsonl" / f"{rows:09}.jsonl").open("w") as file:
                for row in part.to_pylist():
                    file.write(json.dumps({"id": row["passage_id"], "contents": row["content"]}) + "\n")
            rows += part.num_rows
            yield from part.cast(schema).to_batches()

    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(folder / "passages.lance"))
    (folder / "queries.json").write_text(json.dumps(queries))
    return rows


def overlap(found: list[list[str]], other: list[list[str]]) -> float:
    """The mean share of the first ten that two systems have in common."""
    shares = [len(set(a) & set(b)) / max(len(a), len(b)) for a, b in zip(found, other, strict=True) if a or b]
    return float(np.mean(shares))


def ndcg(found: list[list[str]]) -> float:
    """NDCG@10 on SciFact's train claims."""
    import ir_measures

    judged = judgements()
    ids = [row["_id"] for row in lines(DATA / "scifact" / "queries_train.jsonl") if row["_id"] in judged]
    ranked = {i: {p: float(-rank) for rank, p in enumerate(row)} for i, row in zip(ids, found, strict=True)}
    return ir_measures.calc_aggregate([ir_measures.nDCG @ 10], judged, ranked)[ir_measures.nDCG @ 10]


def compare(corpus: str, passages: int, systems: list[str]) -> None:
    """Measure the systems on one corpus and print a table."""
    if corpus != "synthetic" and not (DATA / corpus).is_dir():
        print(f"{corpus}: skipped, {DATA / corpus} is not there\n")
        return
    with tempfile.TemporaryDirectory(prefix="kard-ray-bench-") as name:
        folder = Path(name)
        rows = prepare(corpus, passages, folder)
        kinds = list(json.loads((folder / "queries.json").read_text()))
        quality = "nDCG@10" if corpus == "scifact" else "same top 10"
        columns = [part for kind in kinds for part in (f"{kind}: one at a time", "in batches", quality)]
        print(f"### {corpus}: {rows:,} passages (queries/s; same top 10: share in common with kard_ray)\n")
        print(f"| system | index s | index MB | search MB | open s | {' | '.join(columns)} |")
        print("|---" * (5 + len(columns)) + "|", flush=True)
        notes, reference = [], {}
        for system in systems:
            made = run("index", system, folder)
            told = run("search", system, folder) if "error" not in made else made
            if "error" in told:
                notes.append(f"{system}: {told['error']}")
                continue
            cells = []
            for kind in kinds:
                found = json.loads((folder / f"{system}.{kind}.json").read_text())
                reference.setdefault(kind, found)
                good = ndcg(found) if corpus == "scifact" else overlap(reference[kind], found)
                cells += [f"{told[kind]['one']:,.0f}", f"{told[kind]['many']:,.0f}", f"{good:.4f}"]
                if "cutting" in told[kind]:
                    notes.append(
                        f"{system}, {kind}: one thread cuts {told[kind]['cutting']:,.0f} queries/s into terms"
                    )
            index = (
                "as above" if system.endswith("texts") else f"{made['seconds']:.1f} | {made['megabytes']:,}"
            )
            index = index if "|" in index else f"{index} | {index}"
            row = f"{index} | {told['megabytes']:,} | {told['open']:.2f} | {' | '.join(cells)}"
            print(f"| {system} | {row} |", flush=True)
        print("\n" + "\n".join(notes) + "\n")


def main() -> None:
    """Print the machine, the versions and one table per corpus."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", nargs="*", default=["scifact", "strategyqa", "synthetic"])
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--passages", type=int, default=1_000_000, help="of the synthetic corpus")
    parser.add_argument("--step", choices=["index", "search"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        step(asked.step, asked.systems[0], asked.folder)
        return
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.platform()}, {model[0].split(': ')[1] if model else platform.machine()}, {cores} cores")
    packages = ("lancedb", "pylance", "bm25s", "PyStemmer", "tantivy", "numba", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in packages), end=", pyserini 1.6.0 with Java 21\n\n")
    if "Pyserini" in asked.systems and (wrong := install_pyserini()):
        print(f"Pyserini is left out: it cannot be installed ({wrong})\n")
        asked.systems.remove("Pyserini")
    for corpus in asked.corpora:
        compare(corpus, asked.passages, asked.systems)


if __name__ == "__main__":
    main()
