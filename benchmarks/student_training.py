"""Training throughput of the student's loop on a CPU, against the usual way, in one run.

Peers: (a) float32 weights under bfloat16 autocast with torch.optim.AdamW and logits for every column, the way of a
plain transformers loop; (b) this project's step (bfloat16 weights, float32 master copies, logits of target columns
only). Each in its own process with glibc's default allocation and with the setting of runtime/session.py.

    .venv/bin/python benchmarks/student_training.py
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time

ROWS, PROMPT_TOKENS, TARGET_TOKENS, STEPS, SEED = 8, 350, 50, 4, 0


def measure(way: str) -> float:
    """Tokens per second of the best of STEPS optimizer steps, after one step of warm-up."""
    import random

    import torch
    from transformers import AutoModelForCausalLM

    from kard_ray.runtime.models import resolve_model
    from kard_ray.student.batching import collate
    from kard_ray.student.loss import target_loss
    from kard_ray.student.optimizer import MasterAdamW

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rng = random.Random(SEED)
    rows = [
        (
            [rng.randrange(40_000) for _ in range(PROMPT_TOKENS)],
            [rng.randrange(40_000) for _ in range(TARGET_TOKENS)],
        )
        for _ in range(ROWS)
    ]
    batch = collate(rows, pad=2)
    path = resolve_model("bundled:smollm2-135m-instruct").path
    dtype = torch.bfloat16 if way == "kard_ray" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).train()
    ours = MasterAdamW(model.parameters(), lr=1e-4, weight_decay=0.0) if way == "kard_ray" else None
    plain = None if ours else torch.optim.AdamW(model.parameters(), lr=1e-4)
    labels = batch.input_BL.clone()
    labels[:, :PROMPT_TOKENS] = -100
    seconds = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        if ours is not None:
            (target_loss(model, batch) / (ROWS * TARGET_TOKENS)).backward()
            ours.step(lr=1e-4, max_norm=1.0)
        else:
            assert plain is not None
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(
                    input_ids=batch.input_BL, attention_mask=torch.ones_like(labels), labels=labels
                ).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            plain.step()
            plain.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    return ROWS * (PROMPT_TOKENS + TARGET_TOKENS) / min(seconds[1:])


def main() -> None:
    """Run each way in a fresh process (the allocator reads its settings at start) and print a table."""
    from kard_ray.runtime.session import WORKER_ENVIRONMENT

    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {ROWS} x {PROMPT_TOKENS + TARGET_TOKENS} tokens"
    )
    for way in ("autocast", "kard_ray"):
        for allocator, extra in (("default", {}), ("kept", WORKER_ENVIRONMENT)):
            done = subprocess.run(
                [sys.executable, __file__, way],
                env=os.environ | extra,
                capture_output=True,
                text=True,
                check=True,
            )
            print(
                f"{way:10} allocator {allocator:8} {json.loads(done.stdout.splitlines()[-1]):8.0f} tokens/s",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
