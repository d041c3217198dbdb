"""Reranking 100 candidates of a question on two threads: what was computed before against what is computed now.

Passages and questions are the World Factbook's; every system has the same encoder (bundled MiniLM, 384 numbers a token,
not trained for this: what is compared is work, not quality) and the same candidates, found by BM25 beforehand. A rate
counts whole questions, from their text to 100 scores. Peers: ``MultiVectorEncoder`` and ``CrossEncoder`` of
sentence-transformers, and ``pylate.rank.rerank`` behind the former's encoding of the question (pylate's own encoder
wants an older sentence-transformers). Their passages are kept as tensors in memory, ours are read from the files.

    .venv/bin/python benchmarks/reranking.py                                         # about a quarter of an hour
    .venv/bin/python benchmarks/reranking.py --passages 150 --questions 4 --seconds 0.5
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from kard_ray.knowledge.build import finish_build
from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.cutting import Cutter
from kard_ray.knowledge.fragments import Written, table_uri, write_fragment
from kard_ray.knowledge.idset import IdSet
from kard_ray.knowledge.passage import PASSAGES
from kard_ray.knowledge.readers.factbook import FactbookCorpus
from kard_ray.knowledge.retrieval import KnowledgeBase
from kard_ray.knowledge.settings import settings_of, write_settings
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.model import new_reranker, passage_text
from kard_ray.reranker.retrieval import Reranking
from kard_ray.reranker.token_vectors import write_token_vectors
from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory
from kard_ray.runtime.models import resolve_model

THREADS = 2
CANDIDATES = 100
MODEL = "bundled:minilm"
PYLATE = Path.home() / ".cache" / "kard_ray" / "bench-pylate"
CONFIG = RerankerConfig(model=MODEL, depth=CANDIDATES, max_query_tokens=64, max_passage_tokens=256)

Score = Callable[[list[int]], list[np.ndarray]]  # numbers of questions -> scores of their candidates


def write_base(folder: Path, passages: int) -> str:
    """The first so many passages of the World Factbook."""
    import pyarrow as pa

    corpus, rows = FactbookCorpus(), []
    for shard in corpus.shards():
        for made in Cutter(None, max_characters=20_000)(list(corpus.read(shard))):  # type: ignore[arg-type]
            rows += made if isinstance(made, list) else []
        if len(rows) >= passages:
            break
    table = pa.Table.from_pylist(rows[:passages], schema=PASSAGES)
    config = KnowledgeConfig(corpus=corpus, embedder=None, workers=1)
    written = Written(
        rows=table.num_rows,
        ids=IdSet.of(table["passage_id"].to_pylist()),
        fragment=write_fragment(table, table_uri(str(folder))),
        embedded=table.num_rows,
        dimensions=0,
    )
    write_settings(str(folder), settings_of(config, None))
    finish_build(str(folder), config, [written])
    return str(folder)


def ask(count: int, base: KnowledgeBase) -> tuple[list[str], list[np.ndarray]]:
    """Questions and the candidates that BM25 finds for them, filled up at random where these are too few."""
    from kard_ray.benchmarks.factbook import FactbookConfig
    from kard_ray.benchmarks.registry import load_benchmark

    made = load_benchmark(FactbookConfig(train=count, dev=0, test=0)).questions()
    questions = [q.question for q in made][:count]
    found_QC, _ = base.search(questions, CANDIDATES, "bm25")
    rng = np.random.default_rng(0)
    filled = []
    for row in found_QC:
        others = rng.permutation(np.setdiff1d(np.arange(base.version.passages), row))
        filled.append(np.concatenate([row[row >= 0], others])[:CANDIDATES])
    return questions, filled


def kard_ray(
    base: KnowledgeBase, reranker: str, vectors: str | None, asked: list[str], found: list[np.ndarray]
) -> Score:
    """This project's, with or without vectors that were computed before."""
    reranking = Reranking(base, reranker, vectors, CONFIG)
    return lambda some: reranking.score([asked[at] for at in some], [found[at] for at in some])[0]


class SentenceTransformers:
    """Peers: the same encoder in sentence-transformers."""

    def __init__(self, path: str, asked: list[str], passages: list[list[str]]) -> None:
        from sentence_transformers import CrossEncoder, MultiVectorEncoder
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        normalise = Normalize(module_input_name="token_embeddings")
        self.model = MultiVectorEncoder(
            modules=[Transformer(path), MultiVectorMask(), normalise], device="cpu"
        )
        self.model.max_seq_length = CONFIG.max_passage_tokens
        self.cross = CrossEncoder(path, num_labels=1, device="cpu", local_files_only=True)
        self.asked, self.passages = asked, passages
        self.kept: dict[str, torch.Tensor] = {}

    def encode(self) -> None:
        """Compute the passages' vectors, once each."""
        unique = list(dict.fromkeys(text for of in self.passages for text in of))
        self.kept = dict(
            zip(unique, self.model.encode_document(unique, show_progress_bar=False), strict=True)
        )

    def _queries(self, some: list[int]) -> list[torch.Tensor]:
        return self.model.encode_query([self.asked[at] for at in some], show_progress_bar=False)

    def before(self, some: list[int]) -> list[np.ndarray]:
        """MaxSim with the passages' kept vectors."""
        return [
            self.model.similarity([query], [self.kept[text] for text in self.passages[at]])[0].numpy()
            for query, at in zip(self._queries(some), some, strict=True)
        ]

    def now(self, some: list[int]) -> list[np.ndarray]:
        """Passages encoded with the question."""
        found = []
        for query, at in zip(self._queries(some), some, strict=True):
            passages = self.model.encode_document(self.passages[at], show_progress_bar=False)
            found.append(self.model.similarity([query], passages)[0].numpy())
        return found

    def pylate(self, some: list[int]) -> list[np.ndarray]:
        """pylate's reranking of the kept vectors."""
        from pylate.rank import rerank

        places = list(range(CANDIDATES))
        found = rerank(
            documents_ids=[places for _ in some],
            queries_embeddings=self._queries(some),
            documents_embeddings=[[self.kept[text] for text in self.passages[at]] for at in some],
        )
        return [np.array([hit["score"] for hit in sorted(of, key=lambda hit: hit["id"])]) for of in found]

    def pairs(self, some: list[int]) -> list[np.ndarray]:
        """A cross-encoder over question and passage together."""
        return [
            self.cross.predict(
                [(self.asked[at], text) for text in self.passages[at]], show_progress_bar=False
            )
            for at in some
        ]


def install_pylate() -> str | None:
    """Install pylate into a folder of its own, without its dependencies; return what went wrong, if anything."""
    if not (PYLATE / "complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]
        done = subprocess.run(
            [*command, str(PYLATE), "pylate==1.6.0"], check=False, capture_output=True, text=True
        )
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        (PYLATE / "complete").touch()
    sys.path.append(str(PYLATE))
    return None


def rate(score: Score, questions: int, together: int, seconds: float) -> float:
    """Questions per second over at least ``seconds``, ``together`` at a time, after a warm-up."""
    everything = list(range(questions))
    score(everything[:together])
    done, at, started = 0, 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        some = everything[at : at + together]
        score(some)
        done += len(some)
        at = at + together if at + together < questions else 0
    return done / (time.perf_counter() - started)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print how long it took."""
    started = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - started:.1f} s", flush=True)


def measure(asked_for: argparse.Namespace, folder: Path) -> None:
    """Print one line for each system."""
    base = KnowledgeBase(write_base(folder / "knowledge", asked_for.passages), threads=THREADS)
    asked, found = ask(asked_for.questions, base)
    numbers = np.unique(np.concatenate(found)).tolist()
    rows = dict(zip(numbers, base.dataset.take(numbers, columns=["title", "text"]).to_pylist(), strict=True))
    texts = [[passage_text(rows[d]["title"], rows[d]["text"]) for d in of.tolist()] for of in found]
    reranker = str(folder / "reranker")
    new_reranker(CONFIG).save(reranker)
    vectors, run = {}, RunDirectory(str(folder / "run"))
    for dtype in ("float16", "int8"):
        artifact = run.artifact(ArtifactSpec(stage=f"token_vectors/{dtype}", version=1, config={}))
        with told(f"token vectors of {base.version.passages:,} passages, {dtype}"):
            write_token_vectors(
                artifact, folder=base.folder, version=None, reranker_folder=reranker, dtype=dtype, workers=0,
                threads=THREADS,
            )  # fmt: skip
        vectors[dtype] = artifact.path
        size = (Path(artifact.path) / "vectors.npy").stat().st_size
        print(f"  {size / 1e6:,.0f} MB of flat arrays, {artifact.manifest().counts['tokens']:,} tokens")
    torch.set_num_threads(THREADS)
    peers = SentenceTransformers(resolve_model(MODEL).path, asked, texts)
    with told("the candidates' vectors in sentence-transformers"):
        peers.encode()
    systems: dict[str, Score] = {
        "kard_ray, computed before, float16": kard_ray(base, reranker, vectors["float16"], asked, found),
        "kard_ray, computed before, int8": kard_ray(base, reranker, vectors["int8"], asked, found),
        "sentence-transformers MultiVectorEncoder, computed before": peers.before,
    }
    if wrong := install_pylate():
        print(f"pylate is left out: it cannot be installed ({wrong})")
    else:
        systems["pylate.rank.rerank, computed before"] = peers.pylate
    systems |= {
        "kard_ray, on the fly": kard_ray(base, reranker, None, asked, found),
        "sentence-transformers MultiVectorEncoder, on the fly": peers.now,
        "sentence-transformers CrossEncoder": peers.pairs,
    }
    few = list(range(min(4, len(asked))))
    exact = np.concatenate(systems["kard_ray, on the fly"](few))
    print(f"\n{len(asked)} questions, {CANDIDATES} candidates each, {THREADS} threads\n")
    print("| system | questions/s, one at a time | in batches of 16 | largest difference of a score |")
    print("|---|---:|---:|---:|", flush=True)
    for name, score in systems.items():
        off = np.abs(np.concatenate(score(few)) / exact - 1).max()
        shown = "–" if "CrossEncoder" in name else f"{off:.1e}"
        one, many = (rate(score, len(asked), together, asked_for.seconds) for together in (1, 16))
        print(f"| {name} | {one:,.2f} | {many:,.2f} | {shown} |", flush=True)


def main() -> None:
    """Print the machine, the versions and the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=5000)
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rate")
    asked_for = parser.parse_args()
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.platform()}, {model[0].split(': ')[1] if model else platform.machine()}, {cores} cores")
    packages = ("torch", "transformers", "sentence-transformers", "lancedb", "pylance", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in packages), end=", pylate 1.6.0\n\n")
    with tempfile.TemporaryDirectory(prefix="kard-ray-bench-") as name:
        measure(asked_for, Path(name))


if __name__ == "__main__":
    main()
