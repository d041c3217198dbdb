"""Kill the teacher's driver or its worker at a random number of replies: the same rationales, hardly a request twice.

Half of the runs have a recorded teacher, whose final table must be that of an undisturbed run; the others an HTTP
server in a process of its own, which counts the requests: every one once, but for those that were in flight. A killed
driver is started again, a killed worker is not. The seeds 0, 1, 2 and so on choose who is killed and when.

    .venv/bin/python benchmarks/teacher_faults.py [--kills 10]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.e2e import teacher_faults as faults
from tests.e2e.world import World, copy_run, make_world, succeed


def main() -> int:
    """Kill, compare, sum up; 1 when any run ended with another table or more repeated requests than were in flight."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10, help="for each of the two teachers (default: 10)")
    kills = parser.parse_args().kills
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kard-ray-faults-") as name:
        folder = Path(name)
        world = make_world(folder)
        questions, recording = faults.write_questions(folder), faults.write_recording(folder)
        prepared = folder / "prepared"
        faults.prepare(world, prepared, questions)
        backend: dict[str, object] = {"kind": "recorded", "path": str(recording)}
        whole = copy_run(prepared, folder / "whole")
        succeed(*faults.command(world, whole, questions, backend))
        expected = faults.rationales(whole)
        for seed in range(kills):
            run = copy_run(prepared, folder / f"recorded-{seed}")
            arguments = faults.command(world, run, questions, backend)
            killed = faults.with_one_kill(arguments, run, seed, folder / "log")
            same = faults.rationales(run).equals(expected)
            failed += not same
            print(
                f"recorded, seed {seed}: {told(killed)}: {'the same table' if same else 'ANOTHER TABLE'}",
                flush=True,
            )
        failed += sum(not one_endpoint(world, folder, questions, prepared, seed) for seed in range(kills))
    print(f"{2 * kills - failed} of {2 * kills} runs with one kill ended as they should")
    return failed > 0


def one_endpoint(world: World, folder: Path, questions: Path, prepared: Path, seed: int) -> bool:
    """One run with a kill and counted requests."""
    run = copy_run(prepared, folder / f"endpoint-{seed}")
    with faults.server(folder) as (url, log):
        arguments = faults.command(world, run, questions, faults.endpoint(url))
        killed = faults.with_one_kill(arguments, run, seed, folder / "log")
    different, again = faults.repeated(log)
    rows = faults.rationales(run).num_rows
    print(
        f"endpoint, seed {seed}: {told(killed)}: {rows} rationales, {different} requests, {again} of them repeated "
        f"(at most {faults.CONCURRENCY} in flight)",
        flush=True,
    )
    wanted = faults.QUESTIONS * faults.SAMPLES
    return rows == different == wanted and again <= faults.CONCURRENCY


def told(killed: faults.Kill | None) -> str:
    """Who was killed, and when."""
    return f"{killed.target:6} killed at {killed.written:3} replies" if killed else "over before its kill"


if __name__ == "__main__":
    sys.exit(main())
