"""Kill, stop, starve the online service while it is asked: no wrong answer, no lost verdict, hardly an error.

A copy of a finished run is served by the real ``kard-ray serve``; six clients ask questions (every other one streaming)
and another one gives verdicts, from processes of their own. Then, one after the other: replicas are killed (SIGKILL,
chosen by ``--seed`` among all of the service's own), an engine is stopped (SIGSTOP), the knowledge base's folder is
taken away for a while, and the disk that verdicts are written to is full (a small tmpfs; left out where it cannot be
mounted). An answer is wrong when its question was always answered alike before (greedy, alone and in batches), and now
otherwise; a verdict is lost when it was acknowledged and is not in the table exactly once. "Whole again" means: all
replicas are there, Serve counts them as running, /readyz says ready, and a question is answered.

    .venv/bin/python benchmarks/serving_faults.py --run-dir runs/quickstart          # half an hour
    .venv/bin/python benchmarks/serving_faults.py --only kills --kills 3 --questions 8
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from serving_parts.direct import plan_of
from serving_parts.faults import (
    Judged,
    Whole,
    copy_run,
    fill_disk,
    hang_engine,
    kill_replicas,
    lost_verdicts,
    small_disk,
    take_knowledge_away,
    undisturbed,
)
from serving_parts.figures import goal, parser_of, run_of, say, tell_machine
from serving_parts.service import Service

KINDS = ("kills", "hung", "knowledge", "disk")
ERRORS_PERCENT = 0.1  # of requests that clients may see fail when replicas are killed


def main() -> int:
    """Print what happened; 1 when an answer was wrong or a verdict was lost."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--only", action="append", choices=KINDS, help="may be given several times (default: all)"
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--questions", type=int, default=24, help="that are asked again and again (default: 24)"
    )
    parser.add_argument(
        "--away-seconds", type=float, default=10.0, help="of the knowledge base (default: 10)"
    )
    asked_for = parser.parse_args()
    run_dir = run_of(asked_for)
    if run_dir is None:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended in any case
    only, seed, started = asked_for.only or KINDS, asked_for.seed, time.monotonic()
    tell_machine(run_dir, seed)
    with (
        tempfile.TemporaryDirectory(prefix="kard-ray-serving-") as name,
        small_disk(Path(name) / "verdicts") as no_disk,
    ):
        copy = copy_run(run_dir, Path(name) / "run")
        plan, _, _ = plan_of(str(copy), asked_for.set)
        knowledge = Path(plan.knowledge.folder)
        done: dict[str, Judged] = {}
        with Service(
            str(copy), Path(name), asked_for.set, feedback=Path(name) / "verdicts" / "table"
        ) as service:
            truth = undisturbed(service, str(copy), seed, asked_for.questions)
            whole = Whole(service, truth.bodies[0])
            print(f"replicas: {', '.join(f'{count} of {part}' for part, count in whole.counts.items())}\n")
            if "kills" in only:
                say(f"{asked_for.kills} kills")
                done["kills"] = kill_replicas(service, truth, whole, asked_for.kills, seed)
            if "hung" in only:
                say("an engine that hangs")
                done["hung"] = hang_engine(service, truth, whole)
            if "knowledge" in only:
                if copy in knowledge.parents:
                    say("the knowledge base away")
                    seconds = asked_for.away_seconds
                    done["knowledge"] = take_knowledge_away(service, truth, whole, knowledge, seconds)
                else:
                    print(f"the knowledge base is not taken away: {knowledge} is not the run's own")
            if "disk" in only:
                if no_disk is None:
                    say("a full disk")
                    done["disk"] = fill_disk(service, truth, whole)
                else:
                    print(f"the disk is not filled: no tmpfs can be mounted here ({no_disk})")
            lost = lost_verdicts(service, [one for judged in done.values() for one in judged.sent])
    wrong = sum(len(judged.wrong) + judged.torn for judged in done.values())
    if "kills" in done:
        sent = done["kills"].sent
        errors = 100 * sum(not one.good for one in sent) / max(1, len(sent))
        print(f"client errors when replicas are killed: {errors:.2f} % ({goal(errors, ERRORS_PERCENT, '%')})")
    print(
        f"wrong answers: {wrong} ({goal(wrong, 0, 'answers')}); lost verdicts: {lost} ({goal(lost, 0, 'verdicts')})"
    )
    say(f"all of it took {time.monotonic() - started:.0f} s")
    return int(wrong > 0 or lost > 0)


if __name__ == "__main__":
    sys.exit(main())
