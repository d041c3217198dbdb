"""The book of a sweep's trials: one small file each, written at every step of a trial, read when the sweep goes on.

It is all that a killed sweep needs: which values were tried, what came out, and which trials were not done. Ray Tune's
own snapshots are not used: they are seconds old when a driver is killed, and then a finished trial is run again.
"""

from __future__ import annotations

import math
import posixpath
import time
from typing import Literal

from pydantic import ValidationError

from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.tuning.config import Scalar
from kard_ray.tuning.targets import Mode

FOLDER = "trials"
_CLOCK = "seconds"  # wall time of the sweep so far

State = Literal["running", "finished", "stopped", "failed"]


class Point(Frozen):
    """One report of a trial."""

    epochs: float  # done
    value: float | None  # of the sweep's metric; None: it was no number
    metrics: dict[str, float | None] = {}  # all that was reported


class TrialRecord(Frozen):
    """One trial. ``running`` is also one that was interrupted: it goes on when the sweep does."""

    number: int
    values: dict[str, Scalar]  # dotted field -> value
    state: State = "running"
    points: tuple[Point, ...] = ()  # in the order of epochs
    score: float | None = (
        None  # of the model it ended with; of one that was stopped early, when it was stopped
    )
    seconds: float = 0.0  # of all attempts
    failures: int = 0  # attempts that failed
    reason: str | None = None  # of the last failure
    ended: str | None = None  # UTC, ISO 8601

    @property
    def epochs(self) -> float:
        """How far it came."""
        return max((point.epochs for point in self.points), default=0.0)

    def with_point(self, point: Point) -> TrialRecord:
        """After one more report; what an earlier attempt told of the same time and later is forgotten."""
        before = tuple(known for known in self.points if known.epochs < point.epochs)
        return self.model_copy(update={"points": (*before, point)})


class TrialBook:
    """All trials of one sweep, in memory and under ``folder/trials/``."""

    def __init__(self, run: RunDirectory, folder: str) -> None:
        self._run, self._folder = run, posixpath.join(folder, FOLDER)
        self._records: dict[int, TrialRecord] = {}
        self._before = 0.0
        self._began = time.monotonic()
        self._read()

    def _read(self) -> None:
        fs = self._run.fs
        fs.invalidate_cache()
        for path in fs.ls(self._folder, detail=False) if fs.exists(self._folder) else ():
            if not path.endswith(".json"):
                continue
            try:
                with fs.open(path, "rb") as source:
                    record = TrialRecord.model_validate_json(source.read())
            except (ValidationError, OSError) as error:
                raise UserError(
                    f"{path} cannot be read ({str(error).splitlines()[0]}); delete it to have this trial run again."
                ) from error
            self._records[record.number] = record
        clock = posixpath.join(self._folder, _CLOCK)
        if fs.exists(clock):
            with fs.open(clock, "rb") as source:
                self._before = float(source.read())

    @property
    def records(self) -> list[TrialRecord]:
        """By number."""
        return [self._records[number] for number in sorted(self._records)]

    def __getitem__(self, number: int) -> TrialRecord:
        return self._records[number]

    def write(self, record: TrialRecord) -> None:
        """Keep ``record`` in the place of what was known of this trial."""
        self._records[record.number] = record
        path = posixpath.join(self._folder, f"{trial_name(record.number)}.json")
        self._run.write_atomically(path, record.model_dump_json(indent=1) + "\n")
        self._run.write_atomically(posixpath.join(self._folder, _CLOCK), f"{self.seconds:.1f}\n")

    @property
    def seconds(self) -> float:
        """Wall time of all calls of this sweep, as far as they wrote something."""
        return self._before + time.monotonic() - self._began

    @property
    def epochs(self) -> float:
        """Of all trials together."""
        return sum(record.epochs for record in self._records.values())

    @property
    def url(self) -> str:
        """Address of the trials' folders, for workers on other machines."""
        return str(self._run.fs.unstrip_protocol(self._folder))

    def url_of(self, number: int) -> str:
        """Where trial ``number`` writes its artifact: a run directory of its own."""
        return trial_url(self.url, number)

    def forget(self, number: int) -> None:
        """Delete what a trial has trained; its record stays."""
        path = posixpath.join(self._folder, trial_name(number))
        if self._run.fs.exists(path):
            self._run.fs.rm(path, recursive=True)


def trial_name(number: int) -> str:
    """Of a trial's folder, and of its record."""
    return f"{number:04}"


def trial_url(folder: str, number: int) -> str:
    """The run directory of trial ``number`` below the address ``folder``."""
    return posixpath.join(folder, trial_name(number))


def best_of(records: list[TrialRecord], mode: Mode) -> TrialRecord | None:
    """The finished trial with the best score, of equal ones the first; None when there is none."""
    best: TrialRecord | None = None
    for record in records:
        if record.state != "finished" or record.score is None:
            continue
        if best is None or best.score is None or is_better(record.score, best.score, mode):
            best = record
    return best


def is_better(value: float, than: float, mode: Mode) -> bool:
    """Whether ``value`` is really better."""
    return value > than if mode == "max" else value < than


def plain(value: float | int) -> float | None:
    """A number as JSON takes it: None for one that is not finite."""
    return float(value) if math.isfinite(value) else None
