"""The edge to Ray Tune: trials are run side by side, every step of theirs is written into the book."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.search import Searcher

from kard_ray.runtime.placement_groups import free_orphans
from kard_ray.tuning.config import SweepConfig, scalar_text
from kard_ray.tuning.schedulers import EPOCHS, NUMBER, VALUE
from kard_ray.tuning.search import Suggestions
from kard_ray.tuning.targets import Mode
from kard_ray.tuning.trials import Point, TrialBook, TrialRecord, best_of, plain

VALUES = "values"  # in a trial's configuration: what it has for the fields of the space
OWN = "own"  # there, too: whether these are the recipe's own
FINISHED = "finished"  # in a trial's last result: its model is there
POINTS = "points"  # there, too: (epochs, value) of the whole training, where an earlier attempt's are in it
REPORT = "report"  # in a trial's results: every number that its workers reported

_JANITOR_SECONDS = 1.0  # between looks for what dead trials have left behind
_ACTOR_CPUS = 0.01  # of what waits for a training's workers; these ask for theirs themselves
_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the book and the report tell what they would
    "RAY_AIR_NEW_OUTPUT": "0",  # it draws a table for each failure, also where nothing is to be printed
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the listener tells why a trial failed
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a sweep like everything else
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a recipe stay what they are
}


def side_by_side(
    config: SweepConfig, *, cpus: float, gpus: float, cluster_cpus: float, cluster_gpus: float
) -> int:
    """How many trials run at once when each takes ``cpus`` and ``gpus`` of the cluster; at least one.

    One CPU stays free: for the drivers and controllers of trainings, and for what moves rows.
    """
    room = int((cluster_cpus - 1) // cpus)
    if gpus:
        room = min(room, int(cluster_gpus // gpus))
    return config.concurrency or max(1, room)


def run_trials(
    trial: Callable[[dict[str, Any]], Mapping[str, Any]],
    *,
    config: SweepConfig,
    metric: str,
    mode: Mode,
    book: TrialBook,
    suggestions: Suggestions,
    scheduler: Any,
    concurrency: int,
    storage: str,
    say: Callable[[str], None],
    explain: Callable[[BaseException], str],
) -> None:
    """Run what ``suggestions`` has until it has no more or the budget is used; returns nothing, the book has all.

    ``trial`` takes ``{"number", "values", "own"}`` and reports with :mod:`kard_ray.tuning.reports`. ``storage`` is a
    path or address that every machine of the cluster can write to.
    """
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    # At the end it looks for files of the loggers that are switched off, and warns of each trial.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    try:
        tune.Tuner(
            tune.with_resources(trial, {"CPU": _ACTOR_CPUS}),
            tune_config=tune.TuneConfig(
                search_alg=_Search(suggestions, config, book),
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=concurrency,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=storage,
                callbacks=[
                    Listener(book, config, metric=metric, mode=mode, say=say, explain=explain),
                    _Janitor(),
                ],
                failure_config=tune.FailureConfig(max_failures=config.max_failures),
                stop=_Time(config, book),
                verbose=0,
            ),
        ).fit()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Search(Searcher):
    """Gives Ray Tune the suggestions, as long as the budget of epochs lasts."""

    def __init__(self, suggestions: Suggestions, config: SweepConfig, book: TrialBook) -> None:
        super().__init__()
        self._suggestions, self._config, self._book = suggestions, config, book

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Nothing is left to be set."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next trial."""
        if self._config.epochs is not None and self._book.epochs >= self._config.epochs:
            return Searcher.FINISHED
        record = self._suggestions.next()
        if record is None:
            return Searcher.FINISHED
        return {
            NUMBER: record.number,
            VALUES: dict(record.values),
            OWN: self._config.own and record.number == 0,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The listener has written it into the book, and suggestions are made from that."""

    def save(self, checkpoint_path: str) -> None:
        """A sweep goes on from its book."""


class _Time(tune.Stopper):
    """Ends the sweep when its minutes are over."""

    def __init__(self, config: SweepConfig, book: TrialBook) -> None:
        self._minutes, self._book = config.minutes, book

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether they are over, with those of earlier calls."""
        return self._minutes is not None and self._book.seconds >= 60 * self._minutes


class _Janitor(tune.Callback):
    """Frees what dead trials had reserved, so that others can start."""

    def __init__(self) -> None:
        self._looked = 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ray Tune has handled an event, or waited for one."""
        if time.monotonic() - self._looked >= _JANITOR_SECONDS:
            free_orphans()
            self._looked = time.monotonic()


class Listener(tune.Callback):
    """Writes down what trials do, and tells people."""

    def __init__(
        self,
        book: TrialBook,
        config: SweepConfig,
        *,
        metric: str,
        mode: Mode,
        say: Callable[[str], None],
        explain: Callable[[BaseException], str],
    ) -> None:
        self._book, self._config = book, config
        self._metric, self._mode = metric, mode
        self._say, self._explain = say, explain
        self._clocks: dict[int, float] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its actor has been started."""
        number = trial.config[NUMBER]
        self._clocks[number] = time.monotonic()
        values = ", ".join(f"{name} {scalar_text(value)}" for name, value in trial.config[VALUES].items())
        own = "the recipe's own values: " if trial.config[OWN] else ""
        self._say(f"trial {number}: starts ({own}{values})")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """It has reported something."""
        record = self._timed(trial)
        if not result.get(FINISHED):
            point = Point(
                epochs=result[EPOCHS],
                value=plain(result[VALUE]),
                metrics={name: plain(value) for name, value in result.get(REPORT, {}).items()},
            )
            self._book.write(record.with_point(point))
            self._say(
                f"trial {record.number}: {self._metric} {result[VALUE]:.4g} after {result[EPOCHS]:.3g} epochs"
            )
            return
        points = {point.epochs: point for point in record.points}
        for epochs, value in result[POINTS]:
            points.setdefault(epochs, Point(epochs=epochs, value=plain(value)))
        record = self._ended(record, "finished", score=plain(result[VALUE]))
        before = best_of(self._book.records, self._mode)
        self._book.write(record.model_copy(update={"points": tuple(points[at] for at in sorted(points))}))
        best = best_of(self._book.records, self._mode)
        if self._config.keep == "best":  # models are large: all but the best one's are deleted at once
            for other in (before, self._book[record.number]):
                if other is not None and best is not None and other.number != best.number:
                    self._book.forget(other.number)
        told = (
            f", the best so far is {best.score:.4g} (trial {best.number})"
            if best and best.score is not None
            else ""
        )
        self._say(
            f"trial {record.number}: finished, {self._metric} {result[VALUE]:.4g}{told}; {self._progress()}"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It has ended, by itself or stopped early."""
        record = self._timed(trial)
        if record.state == "finished":
            return
        value = record.points[-1].value if record.points else None
        why = "" if value is not None else f"{self._metric} was no number"
        self._book.write(self._ended(record, "stopped", score=value, reason=why or None))
        self._say(
            f"trial {record.number}: stopped early after {record.epochs:.3g} epochs"
            f"{f' ({why})' if why else ''}; {self._progress()}"
        )

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It has failed and is tried again."""
        record = self._failed(trial)
        self._book.write(record)
        self._say(f"trial {record.number}: failed and is tried again: {record.reason}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It has failed for the last time."""
        record = self._ended(self._failed(trial), "failed", score=None)
        self._book.write(record)
        self._say(f"trial {record.number}: failed; {self._progress()}: {record.reason}")

    def _timed(self, trial: Any) -> TrialRecord:
        """Its record, with the time until now."""
        number = trial.config[NUMBER]
        now = time.monotonic()
        record = self._book[number]
        seconds = record.seconds + now - self._clocks.get(number, now)
        self._clocks[number] = now
        return record.model_copy(update={"seconds": round(seconds, 1)})

    def _failed(self, trial: Any) -> TrialRecord:
        record = self._timed(trial)
        error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return record.model_copy(update={"failures": record.failures + 1, "reason": self._explain(error)})

    def _ended(self, record: TrialRecord, state: str, **more: Any) -> TrialRecord:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return record.model_copy(update={"state": state, "ended": now, **more})

    def _progress(self) -> str:
        """How many trials are done, and about how long the others will take."""
        done = sum(record.state != "running" for record in self._book.records)
        left = self._config.trials - done
        told = f"{done} of {self._config.trials} trials"
        return f"{told}, about {left * self._book.seconds / done / 60:.0f} min left" if left > 0 else told
