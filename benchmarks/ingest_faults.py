"""Kill a build's driver or one of its workers at a random moment, many times: the same passages are there in the end.

The corpus has duplicates; a killed driver is started again, a killed worker is not. The seeds 0, 1, 2 and so on choose
who is killed and when.

    .venv/bin/python benchmarks/ingest_faults.py [--kills 20]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.e2e.faults import build_with_one_kill, final_ids, write_corpus
from tests.e2e.world import World, make_world


def one_kill(world: World, seed: int) -> tuple[bool, bool]:
    """Build with one kill and print what happened; whether there was one, and whether the ids are the expected ones."""
    with tempfile.TemporaryDirectory(prefix="kard-ray-faults-") as name:
        folder, started = Path(name), time.monotonic()
        expected = write_corpus(folder)
        try:
            kill = build_with_one_kill(world, folder, folder / "run", seed, log=folder / "log")
            found = final_ids(folder / "run")
        except (AssertionError, ValueError, OSError) as error:
            print(f"seed {seed:2}: the build did not end well: {error}", flush=True)
            return True, False
        equal = found == expected
        what = (
            f"{kill.target:6} after {kill.seconds:4.1f} s, {kill.phase}"
            if kill
            else "was over before its kill"
        )
        result = "the expected ids" if equal else f"{found.size} ids, not the {expected.size} expected"
        print(f"seed {seed:2}: {what}: {result} ({time.monotonic() - started:.0f} s)", flush=True)
        return kill is not None, equal


def main() -> int:
    """Kill, compare, sum up; 1 when any build ended with other ids."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="builds, each with one kill (default: 20)")
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory(prefix="kard-ray-faults-") as name:
        world = make_world(Path(name))
        outcomes = [one_kill(world, seed) for seed in range(kills)]
    equal = sum(same for _, same in outcomes)
    missed = sum(not killed for killed, _ in outcomes)
    print(
        f"{equal} of {kills} builds with one kill ended with exactly the expected passages"
        + (f"; {missed} were over before their kill" if missed else "")
    )
    return 0 if equal == kills else 1


if __name__ == "__main__":
    sys.exit(main())
