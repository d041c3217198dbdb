"""Speed and memory of the teacher's stage.

Speed: 512 questions of the World Factbook, 2 samples each, the same token ids for all: vLLM alone (``LLM.generate``
over all prompts at once), the stage's own way (Ray Data LLM, ledger and all), and ``transformers.generate`` in batches
of 8 on a part of the prompts, as KARD's released scripts do. Each runs in a process of its own. The clock starts when
the engine has loaded its model (for the stage: when Ray says that the engine's actor is alive) and stops when the last
text is returned (for the stage: when the driver has counted the last row, which is in the ledger by then); the time
before that is told as "start".

Memory: the recorded teacher for 10,000 and 100,000 questions with 2 samples each, through generation and verification
with two filters; the driver's peak of resident memory, every 0.1 s.

    .venv/bin/python benchmarks/teacher.py [--only speed|memory] [--questions 512]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

SAMPLES, SEED, MAX_TOKENS = 2, 0, 96
MODEL = "bundled:smollm2-135m-instruct"
HF_BATCH, HF_PROMPTS = 8, 96
WAYS = ("bare", "stage", "transformers")
SIZES = (10_000, 100_000)
CORES = "KARD_RAY_BENCHMARK_CORES"  # how many the engine uses; handed to the processes of the ways


def teacher_config() -> Any:
    """The same settings for all ways."""
    from kard_ray.runtime.engine import EngineConfig, SamplingConfig
    from kard_ray.teacher.config import TeacherConfig

    return TeacherConfig(
        model=MODEL,
        samples=SAMPLES,
        sampling=SamplingConfig(temperature=0.8, top_k=40, max_tokens=MAX_TOKENS),
        engine=EngineConfig(
            max_model_tokens=2048,
            max_sequences=64,
            batch_rows=32,
            cpu_cores=int(os.environ.get(CORES, "0")) or None,
        ),
        seed=SEED,
    )


def work(questions: int) -> tuple[Any, list[Any]]:
    """The openings, and the items in the stage's order."""
    from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
    from kard_ray.benchmarks.selection import SelectionConfig, select
    from kard_ray.teacher.rationales import Asking

    benchmark = Factbook(FactbookConfig(kind="factbook", seed=SEED))
    chosen = select(list(benchmark.questions()), "train", SelectionConfig(train=questions))
    chosen.sort(key=lambda q: (q.pattern or q.kind, q.question_id))
    asking = Asking(teacher_config(), "text", benchmark.examples, {})
    items = [asking.item(q, range(SAMPLES)) for q in chosen]
    return asking.openings, items


def prompts(questions: int) -> dict[str, Any]:
    """Token ids of every sample's prompt, and what the other ways need to know of the engine's settings.

    In a process of its own: vLLM does not start in one that has imported all that the stages import.
    """
    from transformers import AutoTokenizer

    from kard_ray.runtime.engine import _environment, engine_kwargs
    from kard_ray.runtime.models import resolve_model
    from kard_ray.teacher.prompt import prompt_ids

    config = teacher_config()
    path = resolve_model(MODEL).path
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    openings, items = work(questions)
    rows = []
    for item in items:
        messages = [*openings[item.opening], {"role": "user", "content": item.turn}]
        rows += [prompt_ids(tokenizer, messages, "chat")] * len(item.samples)
    return {
        "model": path,
        "ids": rows,
        "environment": _environment(config.engine, "cpu"),
        "engine": engine_kwargs(config.engine, "cpu", seed=SEED),
        "sampling": {
            name: getattr(config.sampling, name) for name in ("temperature", "top_k", "top_p", "max_tokens")
        },
    }


def prepared(questions: int) -> dict[str, Any]:
    """What :func:`prompts` gives, from its process."""
    return in_process("prompts", str(questions))


def bare(questions: int) -> dict[str, float]:
    """vLLM alone, in this process."""
    given = prepared(questions)
    began = time.perf_counter()
    os.environ.update(given["environment"])
    from vllm import LLM, SamplingParams

    engine = LLM(model=given["model"], **given["engine"])
    parameters = SamplingParams(**given["sampling"])
    start = time.perf_counter()
    outputs = engine.generate([{"prompt_token_ids": row} for row in given["ids"]], parameters, use_tqdm=False)
    end = time.perf_counter()
    generated = sum(len(output.outputs[0].token_ids) for output in outputs)
    return {"start": start - began, "seconds": end - start, "tokens": generated, "rows": len(outputs)}


def stage(questions: int) -> dict[str, float]:
    """The stage's way."""
    began = time.time()
    import ray

    from kard_ray.runtime.ledger import Ledger
    from kard_ray.runtime.session import ClusterConfig, ray_session
    from kard_ray.teacher.generation import generate
    from kard_ray.teacher.rationales import teacher_of

    config = teacher_config()
    openings, items = work(questions)
    with tempfile.TemporaryDirectory() as folder, ray_session(ClusterConfig()):
        backend = teacher_of(config, SAMPLES)
        table = generate(items, openings, backend, Ledger(folder), label="rationales").table
        end = time.time()
        actors = ray._private.state.actors().values()
        (engine,) = [actor for actor in actors if "vLLM" in str(actor)]
    start = engine["StartTime"] / 1000
    tokens = sum(table["generated_tokens"].to_pylist())
    assert not any(table["error"].to_pylist())
    return {"start": start - began, "seconds": end - start, "tokens": tokens, "rows": table.num_rows}


def transformers(questions: int) -> dict[str, float]:
    """``generate`` in batches of 8, padded on the left, in the order of the prompts."""
    began = time.perf_counter()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = prepared(questions)
    model_path, ids = given["model"], given["ids"]
    ids = ids[:: max(1, len(ids) // HF_PROMPTS)][:HF_PROMPTS]
    tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.bfloat16, local_files_only=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(os.cpu_count() or 1)
    start = time.perf_counter()
    tokens = 0
    for at in range(0, len(ids), HF_BATCH):
        batch = tokenizer.pad({"input_ids": ids[at : at + HF_BATCH]}, return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(
                **batch, do_sample=True, temperature=0.8, top_k=40, max_new_tokens=MAX_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        written = out[:, batch["input_ids"].shape[1] :]
        # Up to and with the first end token, as the engines count.
        ends = (written == tokenizer.eos_token_id).int()
        lengths = torch.where(ends.any(1), ends.argmax(1) + 1, written.shape[1])
        tokens += int(lengths.sum())
    return {
        "start": start - began, "seconds": time.perf_counter() - start, "tokens": tokens, "rows": len(ids),
    }  # fmt: skip


def memory(questions: int) -> dict[str, float]:
    """Peak resident memory of a driver that has the recorded teacher answer, in MiB, and the time it takes."""
    from kard_ray.benchmarks.question import Question
    from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory
    from kard_ray.runtime.ledger import Ledger
    from kard_ray.runtime.session import ClusterConfig, ray_session
    from kard_ray.teacher.backends.recorded import RecordedConfig
    from kard_ray.teacher.config import TeacherConfig
    from kard_ray.teacher.filters.registry import FilterSpec
    from kard_ray.teacher.rationales import write_rationales

    asked = [
        Question(
            question_id=f"q{n}",
            split="train",
            question=f"Is town number {n} older than town number {n * 7 % 1000}, by the years they were founded in?",
            options=("yes", "no"),
            answer=n % 2,
            kind="compare",
        )
        for n in range(questions)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "teacher.jsonl")
        reason = "It was founded in a year that the town's chronicle tells, and the other chronicle tells another. "
        with path.open("w") as sink:
            for n, q in enumerate(asked):
                texts = [f"{reason * 4}So the answer is {q.options[(n + s) % 2]}." for s in range(SAMPLES)]
                sink.write(json.dumps({"id": q.question_id, "rationales": texts}) + "\n")
        config = TeacherConfig(
            backend=RecordedConfig(kind="recorded", path=str(path)),
            samples=SAMPLES,
            filters=tuple(FilterSpec.model_validate(name) for name in ("concludes", "duplicates")),
        )
        run = RunDirectory(f"{folder}/run")
        artifact = run.artifact(ArtifactSpec(stage="rationales", version=1, config={}))
        with ray_session(ClusterConfig()):
            peak, stop = [0.0], threading.Event()

            def watch() -> None:
                while not stop.wait(0.1):
                    peak[0] = max(peak[0], psutil.Process().memory_info().rss / 2**20)

            watcher = threading.Thread(target=watch)
            watcher.start()
            began = time.perf_counter()
            manifest = write_rationales(
                asked, lambda _: (), {}, {}, config, "text", artifact, Ledger(run.url("ledger")),
                test_split="test",
            )  # fmt: skip
            seconds = time.perf_counter() - began
            stop.set()
            watcher.join()
    return {"rows": manifest.rows["rationales"], "peak": peak[0], "seconds": seconds}


def in_process(*arguments: str) -> dict[str, Any]:
    """What one way measured, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the ways and print a table of each part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=("speed", "memory"))
    parser.add_argument("--questions", type=int, default=512)
    parser.add_argument("--cores", type=int, help="cores of the engine; default: all")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        name, count = options.child
        ways: dict[str, Any] = {way.__name__: way for way in (prompts, bare, stage, transformers, memory)}
        print(json.dumps(ways[name](int(count))))
        return
    if options.cores:
        os.environ[CORES] = str(options.cores)
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    if options.only != "memory":
        print(
            "| way | start, s | rows | tokens | seconds | tokens/s | of bare |\n|---|---|---|---|---|---|---|"
        )
        base = 0.0
        for way in options.ways:
            found = in_process(way, str(options.questions))
            rate = found["tokens"] / found["seconds"]
            base = base or rate
            print(
                f"| {way} | {found['start']:.1f} | {found['rows']:,} | {found['tokens']:,} | {found['seconds']:.1f} | "
                f"{rate:.0f} | {rate / base:.3f} |",
                flush=True,
            )
    if options.only != "speed":
        print("| questions | rationales | driver's peak, MiB | seconds |\n|---|---|---|---|")
        for size in SIZES:
            found = in_process("memory", str(size))
            print(
                f"| {size:,} | {found['rows']:,} | {found['peak']:,.0f} | {found['seconds']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
