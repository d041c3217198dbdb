"""Training throughput of a student, in real tokens (no padding) per second, against two other ways, on the same rows.

- ``loop``: this project's training on Ray Train, as ``kard-ray train`` runs it, checkpoint and curve included.
- ``bare``: a plain PyTorch loop over the same packed batches: no Ray, no checkpoint, no curve.
- ``trainer``: Hugging Face Trainer with every row padded to ``--max-length``, as in KARD's scripts.

Each runs in a process of its own, one after the other, with the same model, precision, threads and allocator. Rows are
random tokens with lengths like those of a student with passages, or those of a finished student's examples.parquet.
The first ``--warm-up`` steps do not count. In fp32 the losses of ``loop`` and ``bare`` are compared step by step.

    .venv/bin/python benchmarks/student_training.py --steps 20 --threads 2
    .venv/bin/python benchmarks/student_training.py --steps 50 --precision fp32 --ways loop,bare
    .venv/bin/python benchmarks/student_training.py --examples runs/openbookqa/train/kard/<key>/examples.parquet
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BUNDLED = "bundled:smollm2-135m-instruct"


def arguments() -> argparse.Namespace:
    """What is measured; ``--way`` and ``--folder`` are for the processes that this one starts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--examples", help="examples.parquet of a student, in place of random rows")
    parser.add_argument("--rows", type=int, default=0, help="0: as many as --steps need")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=2, help="steps that do not count")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--micro-batch-tokens", type=int, default=8192)
    parser.add_argument("--max-length", type=int, default=640, help="of a row, in tokens; Trainer pads to it")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--packing", choices=["true", "false"], default="true", help="of loop and bare")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ways", default="loop,bare,trainer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def student_config(args: argparse.Namespace, rows: int) -> Any:
    """The recipe fields of a training of ``args.steps`` steps."""
    from kard_ray.student.config import StudentConfig

    return StudentConfig(
        model=args.model, precision=args.precision, batch_size=args.batch_size, seed=args.seed,
        micro_batch_tokens=args.micro_batch_tokens, packing=args.packing == "true", learning_rate=2e-4,
        epochs=args.steps / -(-rows // args.batch_size), cpus_per_worker=args.threads,
    )  # fmt: skip


def write_rows(args: argparse.Namespace, folder: Path) -> None:
    """``examples.parquet`` (schema TRAINING) in ``folder``, each row cut to ``--max-length``."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from transformers import AutoConfig

    from kard_ray.runtime.models import resolve_model
    from kard_ray.student.examples import TRAINING

    count = args.rows or args.steps * args.batch_size
    if args.examples:
        table = pq.read_table(args.examples).slice(0, count)
        rows = [row | {"prompt_ids": row["prompt_ids"][-(args.max_length - len(row["target_ids"])) :]}
                for row in table.to_pylist()]  # fmt: skip
    else:
        rng = random.Random(args.seed)
        vocabulary = AutoConfig.from_pretrained(
            resolve_model(args.model).path, local_files_only=True
        ).vocab_size
        rows = []
        for at in range(count):
            target = rng.randint(20, 90)
            prompt = min(args.max_length - target, max(40, round(rng.gauss(330, 110))))
            ids = [rng.randrange(3, vocabulary) for _ in range(prompt + target)]
            row = {"question_id": f"q{at}", "prompt_ids": ids[:prompt], "target_ids": ids[prompt:]}
            rows.append(row | {"weight": 1.0, "stage": 1})
    pq.write_table(pa.Table.from_pylist(rows, schema=TRAINING), folder / "examples.parquet")


def real_tokens(args: argparse.Namespace, folder: Path) -> list[int]:
    """Prompt and target tokens of each step."""
    import pyarrow.parquet as pq

    from kard_ray.student.plan import plan_training

    table = pq.read_table(folder / "examples.parquet")
    lengths = [
        len(prompt) + len(target)
        for prompt, target in zip(
            table["prompt_ids"].to_pylist(), table["target_ids"].to_pylist(), strict=True
        )
    ]
    plan = plan_training(lengths, table["stage"].to_pylist(), student_config(args, len(lengths)))
    return [sum(lengths[row] for row in step.rows) for step in plan]


def run_loop(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """This project's training."""
    import pyarrow.parquet as pq
    from ray.train import RunConfig, ScalingConfig

    from kard_ray.runtime.models import resolve_model
    from kard_ray.runtime.session import ClusterConfig, ray_session
    from kard_ray.student.training import train_student
    from kard_ray.training.trainer import Trainer

    rows = pq.read_metadata(folder / "examples.parquet").num_rows
    with ray_session(ClusterConfig()):
        result = Trainer(
            train_student,
            train_loop_config={
                "config": student_config(args, rows).model_dump(mode="json"),
                "model_path": resolve_model(args.model).path,
                "examples_url": f"file://{folder}/examples.parquet",
                "tensorboard_url": f"file://{folder}/tensorboard",
            },
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": args.threads}),
            run_config=RunConfig(name="train", storage_path=str(folder / "loop")),
        ).fit()
        assert result.checkpoint is not None
        with result.checkpoint.as_directory() as kept:
            curve = pq.read_table(os.path.join(kept, "curve.parquet"))
    tokens = real_tokens(args, folder)
    speeds = curve["tokens_per_second"].to_pylist()
    return {
        "seconds": [n / v for n, v in zip(tokens, speeds, strict=True)],
        "losses": curve["loss"].to_pylist(),
    }


def run_bare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The same batches without anything around them; bfloat16 weights have float32 master copies here too."""
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kard_ray.runtime.models import resolve_model
    from kard_ray.student.attention import allow_packing
    from kard_ray.student.batching import collate, pack, packs
    from kard_ray.student.loss import target_loss
    from kard_ray.student.plan import plan_training
    from kard_ray.training.order import micro_batches

    torch.set_num_threads(args.threads)
    path = resolve_model(args.model).path
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    table = pq.read_table(folder / "examples.parquet")
    rows = list(zip(table["prompt_ids"].to_pylist(), table["target_ids"].to_pylist(), strict=True))
    lengths = [len(prompt) + len(target) for prompt, target in rows]
    config = student_config(args, len(rows))
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True).train()
    packed = config.packing and allow_packing(model)
    weights = list(model.parameters())
    masters = [w if dtype == torch.float32 else w.detach().float().requires_grad_() for w in weights]
    optimizer = torch.optim.AdamW(masters, lr=1.0, weight_decay=0.0, fused=True)
    pad = tokenizer.eos_token_id
    seconds, losses = [], []
    for step in plan_training(lengths, [1] * len(rows), config):
        started = time.perf_counter()
        labels = sum(len(rows[row][1]) for row in step.rows)
        if packed:
            parts = packs(step.rows, lengths, rank=0, world=1, tokens=config.micro_batch_tokens)
        else:
            size = max(1, config.micro_batch_tokens // max(lengths[row] for row in step.rows))
            parts = micro_batches(step.rows, rank=0, world=1, size=size)
        total = 0.0
        for part in parts:
            loss = (
                target_loss(model, (pack if packed else collate)([rows[row] for row in part], pad=pad))
                / labels
            )
            loss.backward()
            total += loss.item()
        if masters[0] is not weights[0]:
            for master, weight in zip(masters, weights, strict=True):
                master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, config.max_gradient_norm)
        optimizer.param_groups[0]["lr"] = step.rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if masters[0] is not weights[0]:
            with torch.no_grad():
                for master, weight in zip(masters, weights, strict=True):
                    weight.copy_(master)
        seconds.append(time.perf_counter() - started)
        losses.append(total)
    return {"seconds": seconds, "losses": losses}


def run_trainer(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Hugging Face Trainer; every row is as long as the longest may be, and the loss is on the target."""
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

    from kard_ray.runtime.models import resolve_model

    torch.set_num_threads(args.threads)
    path = resolve_model(args.model).path
    pad = AutoTokenizer.from_pretrained(path, local_files_only=True).eos_token_id
    data = []
    for row in pq.read_table(folder / "examples.parquet").to_pylist():
        ids = row["prompt_ids"] + row["target_ids"]
        missing = args.max_length - len(ids)
        labels = [-100] * len(row["prompt_ids"]) + row["target_ids"] + [-100] * missing
        mask = [1] * len(ids) + [0] * missing
        data.append({"input_ids": ids + [pad] * missing, "attention_mask": mask, "labels": labels})
    per_device = max(1, min(args.batch_size, args.micro_batch_tokens // args.max_length))
    seconds: list[float] = []

    class Clock(TrainerCallback):
        """Seconds of each optimizer step."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.started)

    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    Trainer(
        AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True),
        TrainingArguments(
            output_dir=str(folder / "trainer"), per_device_train_batch_size=per_device,
            gradient_accumulation_steps=-(-args.batch_size // per_device), max_steps=args.steps, learning_rate=2e-4,
            save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=not torch.cuda.is_available(), seed=args.seed,
        ),
        train_dataset=data,
        callbacks=[Clock()],
    ).train()  # fmt: skip
    return {"seconds": seconds, "losses": []}


WAYS = {"loop": run_loop, "bare": run_bare, "trainer": run_trainer}


def speed(args: argparse.Namespace, folder: Path, way: str, seconds: list[float]) -> float:
    """Real tokens per second after the warm-up; Trainer draws rows in its own order, so its tokens are the mean's."""
    tokens = real_tokens(args, folder)
    if way == "trainer":
        tokens = [sum(tokens) / len(tokens)] * len(seconds)
    return sum(tokens[args.warm_up :]) / sum(seconds[args.warm_up :])


def main() -> None:
    """Run every way in a process of its own and print one line for each."""
    from kard_ray.runtime.allocator import allocator
    from kard_ray.runtime.session import WORKER_ENVIRONMENT

    args = arguments()
    if args.way:
        found = WAYS[args.way](args, Path(args.folder))
        Path(args.folder, f"{args.way}.json").write_text(json.dumps(found))
        return
    print(
        f"{platform.machine()}, {args.threads} threads, {args.model}, {args.precision}, packing {args.packing}, "
        f"{args.steps} steps of {args.batch_size} rows, seed {args.seed}"
    )
    speeds: dict[str, float] = {}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(args, folder)
        for way in args.ways.split(","):
            subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--way", way, "--folder", name],
                env=os.environ | WORKER_ENVIRONMENT | allocator() | {"OMP_NUM_THREADS": str(args.threads)},
                stdout=sys.stderr,
                check=True,
            )
            found = json.loads((folder / f"{way}.json").read_text())
            speeds[way] = speed(args, folder, way, found["seconds"])
            losses[way] = found["losses"]
            print(f"{way:8} {speeds[way]:8.0f} real tokens/s", flush=True)
    for other in ("bare", "trainer"):
        if "loop" in speeds and other in speeds:
            print(f"loop / {other}: {speeds['loop'] / speeds[other]:.2f}")
    if "loop" in losses and "bare" in losses:
        apart = max(abs(a - b) for a, b in zip(losses["loop"], losses["bare"], strict=True))
        print(f"largest difference of a step's loss, loop and bare: {apart:.1e}")


if __name__ == "__main__":
    main()
