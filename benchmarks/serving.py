"""The online service beside what it is made of: latency, throughput, memory, refusals, replicas that come and go.

A finished run is served by the real ``kard-ray serve`` on the loopback interface; requests come from a process of their
own. Its peers run in the same measurement, on the same questions: the same search and engine calls in one process
without HTTP and Ray, and ``vllm serve`` with the same engine settings, which gets the prompts that the service renders
(as token ids, so that it has nothing to tokenize). The cache of answers is off. Run it with nothing else running.

    .venv/bin/python benchmarks/serving.py --run-dir runs/quickstart                    # an hour
    .venv/bin/python benchmarks/serving.py --only load --minutes 1 --overload-seconds 15
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from serving_parts.figures import parser_of, run_of, say, tell_machine
from serving_parts.sustained import autoscaling, load
from serving_parts.throughput import latency, throughput

KINDS = ("overhead", "stream", "throughput", "load", "autoscaling")


def main() -> int:
    """Print the machine, the versions and what was asked for."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--only", action="append", choices=KINDS, help="may be given several times (default: all)"
    )
    parser.add_argument(
        "--questions", type=int, default=40, help="of a round of overhead and stream (default: 40)"
    )
    parser.add_argument("--throughput-questions", type=int, default=160, help="of a round (default: 160)")
    parser.add_argument("--rounds", type=int, default=2, help="turns that every system gets (default: 2)")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="of load at 80 %% of capacity (default: 30)"
    )
    parser.add_argument("--capacity-seconds", type=float, default=60.0)
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--autoscaling-seconds", type=float, default=40.0)
    asked_for = parser.parse_args()
    run_dir = run_of(asked_for)
    if run_dir is None:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended in any case
    only = asked_for.only or KINDS
    tell_machine(run_dir, asked_for.seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kard-ray-serving-") as name:
        folder, overrides, seed = Path(name), asked_for.set, asked_for.seed
        streams = [stream for stream, kind in ((False, "overhead"), (True, "stream")) if kind in only]
        if streams:
            latency(
                run_dir, folder, overrides=overrides, seed=seed, questions=asked_for.questions,
                rounds=asked_for.rounds, streams=streams,
            )  # fmt: skip
        if "throughput" in only:
            throughput(
                run_dir, folder, overrides=overrides, seed=seed, questions=asked_for.throughput_questions,
                rounds=asked_for.rounds,
            )  # fmt: skip
        if "load" in only:
            load(
                run_dir, folder, overrides=overrides, seed=seed, minutes=asked_for.minutes,
                overload_seconds=asked_for.overload_seconds, capacity_seconds=asked_for.capacity_seconds,
            )  # fmt: skip
        if "autoscaling" in only:
            autoscaling(
                run_dir, folder, overrides=overrides, seed=seed, seconds=asked_for.autoscaling_seconds
            )
    say(f"all of it took {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
