"""What is done to a service while it is asked, and whether what it said meanwhile was right."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from serving_parts.direct import bodies_of
from serving_parts.figures import outcomes, say
from serving_parts.load import Asked, Load, Sent, answer_request, send
from serving_parts.service import Service

CLIENTS = 6  # that ask questions, every other one streaming
DISK_MIB = 64
_HEALTHY_SECONDS = 240.0  # that are waited for at most
_VERDICT_PAUSE = 0.25  # seconds between two verdicts
_LOOK_SECONDS = 0.2


@dataclass(kw_only=True, slots=True)
class Truth:
    """Undisturbed answers. ``answers``: those of questions that were answered alike in all passes but the last."""

    bodies: list[dict[str, Any]]
    answers: dict[str, str | None]
    texts: dict[str, str]
    flipped: int  # of them, in the last pass: what batch shapes alone do


def undisturbed(service: Service, run_dir: str, seed: int, questions: int) -> Truth:
    """Ask everything alone, then twice as under load, and once more as a control."""
    bodies = bodies_of(run_dir, seed)[:questions]
    passes: list[dict[str, Sent]] = []
    for turn, clients in enumerate((1, CLIENTS, CLIENTS, CLIENTS)):
        asked = [answer_request(str(at), body, stream=bool(at % 2)) for at, body in enumerate(bodies)]
        random.Random(seed + turn).shuffle(asked)
        sent = send(service.base, service.token, asked, concurrency=clients, count=len(asked))
        if bad := [one for one in sent if not one.good]:
            raise SystemExit(f"undisturbed, {len(bad)} of {len(sent)} questions failed: {outcomes(sent)}")
        passes.append({one.name: one for one in sent})
    *first, control = passes
    stable = [n for n in first[0] if len({one[n].answer for one in first}) == 1]
    same_text = [n for n in stable if len({one[n].text for one in first}) == 1]
    truth = Truth(
        bodies=bodies,
        answers={n: first[0][n].answer for n in stable},
        texts={n: first[0][n].text for n in same_text},
        flipped=sum(control[n].answer != first[0][n].answer for n in stable),
    )
    readable = sum(answer is not None for answer in truth.answers.values())
    print(
        f"undisturbed: {len(stable)} of {questions} questions were answered alike three times ({readable} with an "
        f"answer that can be read, {len(same_text)} with the same text); a fourth time {truth.flipped} of them "
        "differently",
        flush=True,
    )
    return truth


@dataclass(kw_only=True)
class Judged:
    """What clients saw; counts of requests."""

    sent: list[Sent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    other_texts: int = 0  # of questions whose text was always the same before
    compared: int = 0
    torn: int = 0  # streams whose pieces are not their text
    restarts: int = 0

    def add(self, sent: Sequence[Sent], truth: Truth) -> None:
        """Compare what was answered."""
        self.sent += sent
        for one in sent:
            self.restarts += one.restarts
            if not one.good or one.path != "/v1/answer":
                continue
            if one.streamed is not None and one.streamed.strip() != one.text.strip():
                self.torn += 1
            if one.name in truth.answers:
                self.compared += 1
                if one.answer != truth.answers[one.name]:
                    self.wrong.append(f"question {one.name}: {one.answer!r}, not {truth.answers[one.name]!r}")
            self.other_texts += one.name in truth.texts and one.text != truth.texts[one.name]

    def tell(self, what: str) -> None:
        """Print it."""
        failed = sum(not one.good for one in self.sent)
        print(
            f"{what}: {outcomes(self.sent)}; client errors {failed} of {len(self.sent)} "
            f"({failed / max(1, len(self.sent)):.2%}); wrong answers {len(self.wrong)} of {self.compared}; "
            f"streams that are not their text {self.torn}; restarts of streams {self.restarts}; "
            f"other texts {self.other_texts}",
            flush=True,
        )
        for line in self.wrong[:5]:
            print(f"  {line}")


class UnderLoad:
    """Questions and verdicts that go on while something is done to the service."""

    def __init__(self, service: Service, truth: Truth, turn: str) -> None:
        questions = [
            answer_request(str(at), body, stream=bool(at % 2)) for at, body in enumerate(truth.bodies)
        ]
        base, token = service.base, service.token
        self.stack = ExitStack()
        self.truth = truth
        self.judged = Judged()
        try:
            self.loads = [
                self.stack.enter_context(Load(base, token, questions, concurrency=CLIENTS)),
                self.stack.enter_context(
                    Load(base, token, [verdict(turn)], concurrency=1, pause=_VERDICT_PAUSE)
                ),
            ]
        except BaseException:
            self.stack.close()
            raise

    def so_far(self) -> list[Sent]:
        """What has ended until now."""
        return [one for load in self.loads for one in load.so_far()]

    def __enter__(self) -> UnderLoad:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self.stack:
            if kind is None:
                for load in self.loads:
                    self.judged.add(load.stop(), self.truth)


def verdict(turn: str) -> Asked:
    """A verdict with an id of its own each time it is sent."""
    body = {"verdict": "right", "answer_id": turn, "question": f"Which turn is {turn}?", "answer": turn}
    return Asked(name=turn, path="/v1/feedback", rounds=[[body]], fresh_id="feedback_id")


# -- what is done ----------------------------------------------------------------------------------------------------


class Whole:
    """What a healthy service looks like: how many replicas each part has, and that a question is answered."""

    def __init__(self, service: Service, question: dict[str, Any]) -> None:
        self.service, self.question = service, question
        self.counts = self._counted()
        self.expected = service.running()

    def _counted(self) -> dict[str, int]:
        named = list(self.service.replicas().values())
        return {name: named.count(name) for name in named}

    def wait(self, also: Callable[[], bool] = lambda: True) -> float | None:
        """Seconds until it is so again; None when it takes too long."""
        began = time.monotonic()
        while time.monotonic() - began < _HEALTHY_SECONDS:
            if (
                also()
                and self._counted() == self.counts
                and self.service.running() == self.expected
                and self._answers()
            ):
                return time.monotonic() - began
            time.sleep(_LOOK_SECONDS)
        return None

    def _answers(self) -> bool:
        try:
            with self.service.client(timeout=30) as client:
                return client.get("/readyz").status_code == 200 and (
                    client.post("/v1/answer", json=self.question).status_code == 200
                )
        except httpx.HTTPError:
            return False


def kill_replicas(service: Service, truth: Truth, whole: Whole, kills: int, seed: int) -> Judged:
    """SIGKILL to one replica after another, each when the service is whole again."""
    rng = random.Random(seed)
    recoveries: list[float | None] = []
    with UnderLoad(service, truth, "kills") as load:
        for number in range(kills):
            time.sleep(rng.uniform(1.0, 4.0))
            replicas = service.replicas()
            pid = rng.choice(sorted(replicas))
            at = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            recoveries.append(whole.wait(lambda pid=pid: pid not in service.replicas()))  # type: ignore[misc]
            bad = [one for one in load.so_far() if not one.good and one.at + one.seconds >= at]
            told = f"{recoveries[-1]:.1f} s" if recoveries[-1] is not None else "NOT WITHIN MINUTES"
            print(
                f"kill {number + 1:2}, {replicas[pid]}: whole again after {told}, {len(bad)} errors",
                flush=True,
            )
            if recoveries[-1] is None:
                break
    load.judged.tell(f"{len(recoveries)} kills, seed {seed}")
    known = [one for one in recoveries if one is not None]
    if known:
        print(
            f"whole again after {sorted(known)[len(known) // 2]:.1f} s (median), {max(known):.1f} s at most"
        )
    return load.judged


def hang_engine(service: Service, truth: Truth, whole: Whole) -> Judged:
    """SIGSTOP to an engine's process."""
    engine = service.engines()[0]
    with UnderLoad(service, truth, "hung") as load:
        time.sleep(3.0)
        engine.send_signal(signal.SIGSTOP)
        took = whole.wait(lambda: not engine.is_running())
        if engine.is_running():
            engine.send_signal(signal.SIGCONT)
        told = f"{took:.1f} s" if took is not None else "NOT WITHIN MINUTES"
        say(f"hung engine: whole again after {told}")
    load.judged.tell(f"engine stopped (SIGSTOP): whole again after {told}")
    return load.judged


def take_knowledge_away(service: Service, truth: Truth, whole: Whole, folder: Path, seconds: float) -> Judged:
    """The knowledge base's folder is somewhere else for a while."""
    aside = folder.with_name(f"{folder.name}.aside")
    states: list[int] = []
    with UnderLoad(service, truth, "knowledge") as load:
        time.sleep(2.0)
        folder.rename(aside)
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                states.append(service.ready())
                time.sleep(0.5)
        finally:
            aside.rename(folder)
        back = time.monotonic()
        took = whole.wait()
        time.sleep(2.0)
    told = f"{took:.1f} s" if took is not None else "NOT WITHIN MINUTES"
    load.judged.tell(
        f"knowledge base away for {seconds:g} s ({states.count(False)} of {len(states)} looks not ready); whole {told} "
        "after it was back"
    )
    later = Judged()
    later.add([one for one in load.judged.sent if one.at > back + (took or 0.0)], truth)
    later.tell("of these, asked after that")
    return load.judged


@contextmanager
def small_disk(folder: Path) -> Iterator[str | None]:
    """A file system of a few MiB at ``folder``; gives why there is none."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        yield (done.stderr.strip().splitlines() or ["mount failed"])[-1]
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(service: Service, truth: Truth, whole: Whole) -> Judged:
    """No room for verdicts for a while; questions go on."""
    ballast = service.feedback / "ballast"
    with UnderLoad(service, truth, "full_disk") as load:
        time.sleep(2.0)
        try:
            _fill(ballast)
            full = time.monotonic()
            time.sleep(5.0)
            ready = service.ready()
        finally:
            ballast.unlink(missing_ok=True)
        freed = time.monotonic()
        took = whole.wait()
        time.sleep(2.0)
    verdicts = [one for one in load.judged.sent if one.path == "/v1/feedback"]
    during = [one for one in verdicts if full <= one.at and one.at + one.seconds <= freed]
    after = [one.at + one.seconds - freed for one in verdicts if one.good and one.at > freed]
    print(
        f"disk of verdicts full for {freed - full:.0f} s: verdicts meanwhile: {outcomes(during)}; /readyz was "
        f"{'READY' if ready else 'not ready'}; the first verdict was kept again "
        f"{min(after, default=float('nan')):.1f} s after there was room; whole after "
        f"{took if took is None else round(took, 1)} s"
    )
    load.judged.tell("full disk")
    return load.judged


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as sink:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    sink.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


# -- what is left ----------------------------------------------------------------------------------------------------


def lost_verdicts(service: Service, sent: Sequence[Sent]) -> int:
    """Print, and return, how many acknowledged verdicts are not in the table exactly once."""
    import lance

    from kard_ray.serving.feedback import TABLE, read_feedback

    kept = read_feedback(str(service.feedback))["feedback_id"].to_pylist()
    rows = lance.dataset(str(service.feedback / TABLE)).count_rows()
    verdicts = [one for one in sent if one.path == "/v1/feedback"]
    acknowledged = [one.identity for one in verdicts if one.good]
    lost = [one for one in acknowledged if kept.count(one) != 1]
    unheard = sum(not one.good and one.identity in kept for one in verdicts)
    print(
        f"verdicts: {len(acknowledged)} acknowledged, {len(lost)} of them not in the table exactly once; "
        f"{len(kept)} are there ({rows} rows with repetitions), {unheard} whose acknowledgement did not arrive"
    )
    return len(lost)


def copy_run(run_dir: str, target: Path) -> Path:
    """The run's files again, as links where the file system has them: folders can be moved about, files are shared."""

    def link(source: str, to: str) -> str:
        try:
            os.link(source, to)
        except OSError:
            shutil.copy2(source, to)
        return to

    shutil.copytree(run_dir, target, copy_function=link, symlinks=True)
    return target
