"""Figures that several of the service's measurements print, and what a measurement is told."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from serving_parts.load import Sent

DEFAULT_RUN = "runs/quickstart"


def parser_of(documentation: str) -> argparse.ArgumentParser:
    """What all of these scripts are told."""
    parser = argparse.ArgumentParser(description=documentation.partition("\n")[0])
    parser.add_argument("--run-dir", help=f"a finished run (default: {DEFAULT_RUN})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a further serving.…=… for the service")
    return parser


def run_of(asked_for: argparse.Namespace) -> str | None:
    """The run directory; None, and a sentence, when the default one is not there."""
    if asked_for.run_dir is not None:
        return str(Path(asked_for.run_dir).absolute())
    if not Path(DEFAULT_RUN, "run.json").exists():
        print(
            f"left out: there is no run in {DEFAULT_RUN}; make quickstart makes one, or name one with --run-dir"
        )
        return None
    return str(Path(DEFAULT_RUN).absolute())


def tell_machine(run_dir: str, seed: int) -> None:
    """Print what was measured where."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    print(
        f"{platform.platform()}, {model[0].split(': ')[1] if model else platform.machine()}, {cores} cores, "
        f"{memory:.0f} GiB; other processes' load {os.getloadavg()[0]:.1f}"
    )
    packages = ("ray", "torch", "transformers", "lancedb", "pylance", "aiohttp")
    print(", ".join(f"{name} {version(name)}" for name in packages), end=", ")
    print(
        f"vLLM {_vllm()}, Python {platform.python_version()}; run {Path(run_dir).name}, seed {seed}",
        flush=True,
    )


def _vllm() -> str:
    from importlib.metadata import packages_distributions

    return ", ".join(
        f"{name} {version(name)}" for name in sorted(set(packages_distributions().get("vllm", [])))
    )


def percentile(values: Iterable[float], share: float) -> float:
    """In the values' unit; nan of none."""
    known = list(values)
    return float(np.percentile(known, share)) if known else float("nan")


def spread(values: Iterable[float], unit: str = "ms", scale: float = 1000.0) -> str:
    """p50, p95, p99 and the largest."""
    known = [value * scale for value in values]
    if not known:
        return "none"
    shown = [
        f"{name} {percentile(known, share):,.0f}" for name, share in (("p50", 50), ("p95", 95), ("p99", 99))
    ]
    return f"{', '.join(shown)}, at most {max(known):,.0f} {unit}"


def outcomes(sent: Sequence[Sent]) -> str:
    """How many requests ended how."""
    counted = Counter(
        "answered" if one.good else f"{one.status or 'no response'} {one.code}".strip() for one in sent
    )
    return ", ".join(f"{count:,} {what}" for what, count in counted.most_common()) or "nothing was sent"


def steady_rates(sent: Sequence[Sent]) -> tuple[float, float]:
    """(requests, written tokens) per second while all clients were asking: until the last request began."""
    began, last = min(one.at for one in sent), max(one.at for one in sent)
    done = [one for one in sent if one.good and one.at + one.seconds <= last]
    seconds = max(last - began, 1e-9)
    return len(done) / seconds, sum(one.generated_tokens for one in done) / seconds


def goal(value: float, limit: float, unit: str, *, at_most: bool = True) -> str:
    """Whether a figure is what it should be."""
    met = value <= limit if at_most else value >= limit
    return f"goal {'≤' if at_most else '≥'} {limit:g} {unit}: {'met' if met else 'MISSED'}"


def say(text: str) -> None:
    """A line of progress, apart from the figures."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
