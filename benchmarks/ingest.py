"""Speed and memory of an ingest.

Rate: the ingest of the World Factbook, once and three times over (ids and titles altered), against the bare embedder:
one plain sentence-transformers process per core, each with every second of the same texts. "Encoding" is timed for the
bare embedder from the moment all models are loaded, for the ingest from the first actor with a model, until the last
text is done (and, for the ingest, its fragment written, read back and recorded); "CPU" is what the embedding processes
used of it, which other load on the machine changes less. "Whole" begins when the command starts and holds imports,
Ray's start, reading and duplicates too.

Memory: synthetic corpora without an embedder, up to the commit, then the indexes, each in processes of its own: the
proportional set sizes (PSS) of the driver and all its descendants, added up every 0.4 s. Parts of the object store
count once a process has touched them; files that were only read do not.

    .venv/bin/python benchmarks/ingest.py [--only rate|memory] [--sizes 10000 100000 1000000]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

WORKERS, BATCH, SEED = 2, 64, 0
EMBEDDER = "bundled:minilm"
SIZES, NEAR_SIZE, NEAR = (10_000, 100_000, 1_000_000), 100_000, 0.9
SAMPLE_SECONDS, LIMIT_SECONDS = 0.4, 1800
WORDS, VOCABULARY = 60, 50_000  # words of a passage on average; distinct words of a corpus
TOGETHER = 10_000  # passages that are made at a time
PACKAGES = ("torch", "sentence-transformers", "ray", "pylance", "lancedb", "pyarrow")
CHILD = "child"

Row = list[Any]
Phases = list[tuple[str, float, float]]  # name, and its start and end by the clock of the machine


# Measured in processes of their own ----------------------------------------------------------------------------------


def run_ingest(config: dict[str, Any], folder: str, began: float) -> dict[str, Any]:
    """Ingest and commit; the times of the phases, and of each actor's work."""
    from kard_ray.knowledge import fragments
    from kard_ray.knowledge import ingest as steps
    from kard_ray.knowledge.config import KnowledgeConfig
    from kard_ray.runtime.models import resolve_model
    from kard_ray.runtime.session import ClusterConfig, ray_session

    phases: Phases = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.time()
            result = function(*args, **kwargs)
            phases.append((name, start, time.time()))
            return result

        return call

    stamps = Path(folder) / "stamps"
    stamps.mkdir(parents=True)

    class TimedWriter(fragments.FragmentWriter):
        """Tells when its model was loaded, and when it worked."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.stamps = stamps / f"{os.getpid()}.jsonl"
            self._tell("ready", time.time())

        def __call__(self, row: dict[str, Any]) -> dict[str, int]:
            start = time.time()
            result = super().__call__(row)
            self._tell("unit", start)
            return result

        def _tell(self, what: str, start: float) -> None:
            with self.stamps.open("a") as sink:
                sink.write(
                    json.dumps({"what": what, "start": start, "end": time.time(), "cpu": time.process_time()})
                    + "\n"
                )

    fragments.FragmentWriter = TimedWriter  # type: ignore[assignment,misc]
    for name, label in (
        ("read_shards", "reading"),
        ("find_duplicates", "duplicates"),
        ("write_units", "writing"),
    ):
        setattr(steps, name, timed(label, getattr(steps, name)))

    parsed = KnowledgeConfig.model_validate(config)
    table = f"{folder}/knowledge"
    model = resolve_model(parsed.embedder) if parsed.embedder is not None else None
    with ray_session(ClusterConfig()):
        phases.append(("start", began, time.time()))
        made = steps.ingest(parsed, model, work_url=f"{folder}/work", folder=table, label="ingest")
        fragments.commit_first(made.written, table)
        end = time.time()
        phases.append(("check, commit", max(phase[2] for phase in phases), end))
        stamped = [[json.loads(line) for line in path.open()] for path in sorted(stamps.iterdir())]
    return {
        "phases": phases,
        "end": end,
        "passages": made.passages,
        "read": sum(shard.passages for shard in made.shards),
        "workers": stamped,
    }


def run_texts(config: dict[str, Any], texts: str) -> int:
    """Write what an ingest embeds as JSON Lines; returns how many."""
    from kard_ray.knowledge.config import KnowledgeConfig
    from kard_ray.knowledge.cutting import Cutter
    from kard_ray.knowledge.passage import Document

    parsed = KnowledgeConfig.model_validate(config)
    cutter = Cutter(None, max_characters=parsed.max_passage_characters)
    contents: dict[str, str] = {}  # equal texts are left out
    for shard in parsed.corpus.shards():
        documents = [item for item in parsed.corpus.read(shard) if isinstance(item, Document)]
        for passages in cutter(documents):
            if isinstance(passages, list):
                for row in passages:
                    contents.setdefault(" ".join(row["content"].split()), row["content"])
    with open(texts, "w") as sink:
        sink.writelines(json.dumps(content) + "\n" for content in contents.values())
    return len(contents)


def run_encoder(texts: str, part: int, parts: int) -> None:
    """One bare embedder: tells when its model is loaded, encodes its texts when told to, tells its CPU time."""
    import torch
    from sentence_transformers import SentenceTransformer

    from kard_ray.runtime.models import resolve_model

    torch.set_num_threads(1)
    with open(texts) as lines:
        mine = [json.loads(line) for line in lines][part::parts]
    path = resolve_model(EMBEDDER).path
    model = SentenceTransformer(path, local_files_only=True, model_kwargs={"torch_dtype": torch.bfloat16})
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    model.encode(mine, batch_size=BATCH, show_progress_bar=False)
    print("done", time.process_time() - cpu, flush=True)


def run_indexes(folder: str) -> dict[str, Any]:
    """All indexes of LanceDB; the version they belong to, and the time it took without imports."""
    from kard_ray.knowledge.config import KnowledgeConfig
    from kard_ray.knowledge.indexes import make_indexes

    config = KnowledgeConfig.model_validate(_corpus(""))
    start = time.time()
    version = make_indexes(f"{folder}/knowledge", config)
    return {"version": version, "start": start, "end": time.time()}


def run_bm25(folder: str, version: int) -> dict[str, Any]:
    """The memory-mapped BM25 index; the time it took without imports."""
    from kard_ray.knowledge.config import KnowledgeConfig
    from kard_ray.knowledge.indexes import make_bm25_index

    config = KnowledgeConfig.model_validate(_corpus(""))
    start = time.time()
    make_bm25_index(f"{folder}/knowledge", version, config, workers=WORKERS)
    return {"start": start, "end": time.time()}


RUNS: dict[str, Callable[..., Any]] = {
    run.__name__: run for run in (run_ingest, run_texts, run_encoder, run_indexes, run_bm25)
}


# Processes and their memory ------------------------------------------------------------------------------------------


def command(run: Callable[..., Any], result: Path, **arguments: Any) -> list[str]:
    """The command of a process for ``run``, which leaves what it returns in ``result``."""
    return [
        sys.executable,
        __file__,
        CHILD,
        json.dumps({"run": run.__name__, "result": str(result), "arguments": arguments}),
    ]


def environment() -> dict[str, str]:
    """That of this process, but never somebody's Ray cluster."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


def measured(
    run: Callable[..., Any], *, every: float = SAMPLE_SECONDS, **arguments: Any
) -> tuple[Any, list[dict[str, Any]]]:
    """What ``run`` returns in a process of its own, and samples of the memory meanwhile, ``every`` so many seconds."""
    with tempfile.TemporaryDirectory(prefix="kard-ray-bench-") as folder:
        log, result = Path(folder) / "log", Path(folder) / "result.json"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command(run, result, **arguments), stdout=sink, stderr=sink, env=environment()
            )
            samples = list(sampled(process, every))
        if process.returncode != 0:
            sys.exit(f"{run.__name__} ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        return json.loads(result.read_text()), samples


def sampled(process: subprocess.Popen[bytes], every: float) -> Iterator[dict[str, Any]]:
    """MiB of the driver, of its workers and of Ray's own processes, until ``process`` ends."""
    deadline = time.monotonic() + LIMIT_SECONDS
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
        sample = {"time": time.time(), "driver": 0.0, "workers": 0.0, "Ray": 0.0}
        try:
            family = [driver, *driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        for member in family:
            sample[_role(member, driver)] += _pss(member)
        yield sample
        time.sleep(every)
    process.wait()


def _role(process: psutil.Process, driver: psutil.Process) -> str:
    if process == driver:
        return "driver"
    try:
        line = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return "Ray"
    is_worker = line.startswith("ray::") or "default_worker.py" in line or "multiprocessing" in line
    return "workers" if is_worker else "Ray"


def _pss(process: psutil.Process) -> float:
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:  # it has ended
        pass
    return 0.0


def peak(samples: Sequence[dict[str, Any]], start: float, end: float) -> Row:
    """The highest sum between two moments, and the highest of each kind of process."""
    inside = [sample for sample in samples if start <= sample["time"] <= end]
    kinds = ("driver", "workers", "Ray")
    if not inside:
        return ["–"] * 4
    return [
        f"{max(sum(sample[kind] for kind in kinds) for sample in inside):,.0f}",
        *(f"{max(sample[kind] for sample in inside):,.0f}" for kind in kinds),
    ]


# Corpora -------------------------------------------------------------------------------------------------------------


def _corpus(path: str, **more: Any) -> dict[str, Any]:
    corpus = {"kind": "jsonl", "path": path or "none.jsonl"}
    return {"corpus": corpus, "embedder": None, "workers": WORKERS, **more}


def repeat_factbook(path: Path, times: int) -> None:
    """The Factbook's passages ``times`` over; the number of the copy is in id and title, so that no text is equal."""
    from kard_ray.benchmarks import factbook_data

    with path.open("w") as sink:
        for copy in range(times):
            for code in factbook_data.country_codes():
                for p in factbook_data.passages_of(code):
                    row = {"id": f"{copy}/{p.passage_id}", "title": f"{p.title} {copy}", "text": p.text}
                    sink.write(json.dumps(row) + "\n")


def write_synthetic(path: Path, passages: int) -> None:
    """Passages of about WORDS words, drawn by Zipf's law; one in a hundred is equal and one nearly equal to another."""
    rng = np.random.default_rng(SEED)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(3, 10, VOCABULARY)]
    weights = np.cumsum(1 / (np.arange(VOCABULARY) + 2.7))
    with path.open("w") as sink:
        for first in range(0, passages, TOGETHER):
            count = min(TOGETHER, passages - first)
            sizes = np.clip(rng.normal(WORDS, WORDS / 4, count), 20, 2 * WORDS).astype(int)
            drawn = np.searchsorted(weights, rng.random(sizes.sum()) * weights[-1]).tolist()
            ends = np.cumsum(sizes).tolist()
            rows = [
                [words[at] for at in drawn[end - size : end]] for end, size in zip(ends, sizes, strict=True)
            ]
            for at in range(99, count, 100):
                rows[at] = rows[int(rng.integers(at))]
                rows[at - 50] = [*rows[int(rng.integers(at - 50))][:-1], "other"]
            sink.writelines(
                json.dumps({"id": f"p{first + at:08}", "text": " ".join(row)}) + "\n"
                for at, row in enumerate(rows)
            )


# Rate ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How long a way took for ``passages``, in seconds."""

    way: str
    passages: int
    encoding: float
    cpu: float
    whole: float
    peak: str = "–"  # MiB

    def row(self, bare: Rate) -> Row:
        """Of the table."""
        return [
            f"{self.passages:,}",
            self.way,
            f"{self.encoding:.1f}",
            f"{self.passages / self.encoding:.0f}",
            f"{bare.encoding / self.encoding:.3f}",
            f"{self.cpu:.1f}",
            f"{bare.cpu / self.cpu:.3f}",
            f"{self.whole:.1f}",
            f"{self.passages / self.whole:.0f}",
            f"{bare.whole / self.whole:.3f}",
            self.peak,
        ]


def measure_rate(times: int) -> Iterator[Row]:
    """Rows of the table for the Factbook once and ``times`` over."""
    with tempfile.TemporaryDirectory(prefix="kard-ray-bench-") as name:
        corpora: list[dict[str, Any]] = [{"kind": "factbook"}]
        if times > 1:
            repeat_factbook(repeated := Path(name) / "repeated.jsonl", times)
            corpora.append({"kind": "jsonl", "path": str(repeated)})
        for number, corpus in enumerate(corpora):
            config = {"corpus": corpus, "embedder": EMBEDDER, "embedder_batch": BATCH, "workers": WORKERS}
            texts = Path(name) / f"texts{number}.jsonl"
            count, _ = measured(run_texts, config=config, texts=str(texts))
            yield (bare := bare_rate(texts, count)).row(bare)
            yield ingest_rate(config, f"{name}/{number}", count).row(bare)


def bare_rate(texts: Path, count: int) -> Rate:
    """One process per core encodes its share of ``texts``."""
    began = time.time()
    processes = [
        subprocess.Popen(
            command(run_encoder, texts.with_suffix(f".{part}"), texts=str(texts), part=part, parts=WORKERS),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for part in range(WORKERS)
    ]  # fmt: skip
    for process in processes:
        _told(process, "ready")
    ready = time.time()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    cpu = sum(float(_told(process, "done")) for process in processes)
    end = time.time()
    for process in processes:
        process.communicate()
    return Rate(way="bare", passages=count, encoding=end - ready, cpu=cpu, whole=end - began)


def _told(process: subprocess.Popen[str], word: str) -> str:
    """Wait for the line that begins with ``word``; returns the rest."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    return sys.exit(f"a bare embedder ended with {process.wait()} before it was {word}")


def ingest_rate(config: dict[str, Any], folder: str, count: int) -> Rate:
    """The ingest and its commit."""
    began = time.time()
    made, samples = measured(run_ingest, every=5 * SAMPLE_SECONDS, config=config, folder=folder, began=began)
    if made["passages"] != count:
        sys.exit(f"{made['passages']} of {count} passages were written")
    stamps = [stamp for worker in made["workers"] for stamp in worker]
    units = [stamp for stamp in stamps if stamp["what"] == "unit"]
    ready = sorted(stamp["start"] for stamp in stamps if stamp["what"] == "ready")
    end = max(unit["end"] for unit in units)
    phases = ", ".join(f"{name} {stop - start:.1f}" for name, start, stop in made["phases"])
    busy = ", ".join(
        f"{sum(s['end'] - s['start'] for s in worker if s['what'] == 'unit') / (end - ready[0]):.0%}"
        for worker in made["workers"]
    )
    print(
        f"ingest of {count:,}, seconds: {phases}. {len(units)} units; the actors work {busy} of the encoding; the last "
        f"was ready {ready[-1] - ready[0]:.1f} s after the first",
        file=sys.stderr,
        flush=True,
    )
    return Rate(
        way="ingest",
        passages=count,
        encoding=end - ready[0],
        cpu=sum(worker[-1]["cpu"] - worker[0]["cpu"] for worker in made["workers"]),
        whole=made["end"] - began,
        peak=peak(samples, began, made["end"])[0],
    )


# Memory --------------------------------------------------------------------------------------------------------------


def measure_memory(size: int, *, near: bool, indexes: bool) -> Iterator[Row]:
    """Rows of the table for one corpus."""
    with tempfile.TemporaryDirectory(prefix="kard-ray-bench-") as folder:
        corpus = Path(folder) / "corpus.jsonl"
        write_synthetic(corpus, size)
        config = _corpus(str(corpus), deduplication={"near": NEAR} if near else {})
        began = time.time()
        made, samples = measured(run_ingest, config=config, folder=folder, began=began)
        if made["read"] != size:
            sys.exit(f"{made['read']} of {size} passages were read")
        name, passages = f"{size:,}{' near' if near else ''}", made["passages"]
        for phase in [*made["phases"], ("whole ingest", began, made["end"])]:
            yield _phase_row(name, passages, samples, phase)
        if indexes:
            lance, samples = measured(run_indexes, folder=folder)
            yield _phase_row(name, passages, samples, ("LanceDB indexes", lance["start"], lance["end"]))
            bm25, samples = measured(run_bm25, folder=folder, version=lance["version"])
            yield _phase_row(name, passages, samples, ("BM25 index", bm25["start"], bm25["end"]))


def _phase_row(
    name: str, passages: int, samples: Sequence[dict[str, Any]], phase: tuple[str, float, float]
) -> Row:
    label, start, end = phase
    rate = "–" if label == "start" else f"{passages / (end - start):,.0f}"
    return [name, label, f"{end - start:,.1f}", rate, *peak(samples, start, end)]


# Output --------------------------------------------------------------------------------------------------------------


def table(head: Row, rows: Iterable[Row], widths: Sequence[int]) -> None:
    """Print as Markdown, each row as soon as it is there."""
    for row in itertools.chain([head, ["-" * width for width in widths]], rows):
        cells = (str(value).ljust(width) for value, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |", flush=True)
    print(flush=True)


def machine() -> str:
    """What was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.machine())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB; Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}; load {os.getloadavg()[0]:.1f}; seed {SEED}"
    )


def main() -> None:
    """Measure what is asked for and print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--only", choices=("rate", "memory"), help="one part")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="passages of the synthetic corpora"
    )
    parser.add_argument(
        "--near-size", type=int, default=NEAR_SIZE, help="passages with near duplicates; 0: none"
    )
    parser.add_argument("--times", type=int, default=3, help="how often the Factbook is repeated")
    chosen = parser.parse_args()
    print(machine(), flush=True)
    if chosen.only != "memory":
        table(
            [
                "passages", "way", "encoding, s", "passages/s", "of bare", "CPU, s", "of bare",
                "whole, s", "passages/s", "of bare", "peak PSS, MiB",
            ],
            measure_rate(chosen.times),
            [8, 6, 11, 10, 7, 6, 7, 8, 10, 7, 13],
        )  # fmt: skip
    if chosen.only != "rate":
        runs = [measure_memory(size, near=False, indexes=True) for size in chosen.sizes]
        if chosen.near_size:
            runs.append(measure_memory(chosen.near_size, near=True, indexes=False))
        table(
            ["passages", "phase", "s", "passages/s", "peak PSS, MiB", "driver", "workers", "Ray's own"],
            itertools.chain.from_iterable(runs),
            [12, 15, 7, 10, 13, 7, 7, 9],
        )


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        task = json.loads(sys.argv[2])
        returned = RUNS[task["run"]](**task["arguments"])
        Path(task["result"]).write_text(json.dumps(returned))
    else:
        main()
