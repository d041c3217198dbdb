"""Which trials are stopped early: Ray Tune's rules, but for trials that must not be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from kard_ray.tuning.config import SweepConfig
from kard_ray.tuning.targets import Mode
from kard_ray.tuning.trials import Point, TrialRecord

EPOCHS = "epochs"  # in a trial's results: what rules measure its progress by
VALUE = "value"  # the sweep's metric
LAST = "last"  # in a trial's results: its training is over
NUMBER = "number"  # in a trial's configuration

_WITHIN = 1 - 1e-6  # rules decide before the end of a training, never at it
_GRACE_SHARE = 0.25  # of the longest training


class _Spares:
    """Stops no trial whose training is over, nor the one with the recipe's own values; stops what is no number."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        """CONTINUE or STOP."""
        if not math.isfinite(result[VALUE]):
            return TrialScheduler.STOP
        decision = super().on_trial_result(controller, trial, result)  # type: ignore[misc]
        if decision == TrialScheduler.STOP and (result.get(LAST) or is_own(trial.config)):
            self._forgive(trial)
            return TrialScheduler.CONTINUE
        return decision

    def _forgive(self, trial: Any) -> None:
        """Nothing is remembered of a trial that was to be stopped."""


class _Asha(_Spares, ASHAScheduler):
    pass


class _Median(_Spares, MedianStoppingRule):
    def _forgive(self, trial: Any) -> None:
        self._stopped_trials.discard(trial)


class _None(_Spares, FIFOScheduler):
    pass


def is_own(config: dict[str, Any]) -> bool:
    """Whether a trial's configuration is the one with the recipe's own values."""
    return bool(config.get("own"))


@dataclass(eq=False)  # rules look trials up by what they are, not by what they hold
class _Recorded:
    """What rules see of a trial that an earlier call has run."""

    trial_id: str
    config: dict[str, Any]


def grace_of(config: SweepConfig, longest: float) -> float:
    """Epochs that every trial gets, when the longest training has ``longest``."""
    return config.grace if config.grace is not None else _GRACE_SHARE * longest


def make_scheduler(config: SweepConfig, mode: Mode, longest: float, records: list[TrialRecord]) -> Any:
    """The rule of ``config`` for trainings of at most ``longest`` epochs; it knows the ended trials of ``records``."""
    rule: dict[str, Any] = {
        "time_attr": EPOCHS,
        "metric": VALUE,
        "mode": mode,
        "grace_period": grace_of(config, longest),
    }
    scheduler: Any
    if config.scheduler == "asha":
        rule |= {"max_t": longest * _WITHIN, "reduction_factor": config.reduction, "stop_last_trials": False}
        scheduler = _Asha(**rule)
    elif config.scheduler == "median":
        rule |= {"min_time_slice": math.inf}  # it would pause trials, which cannot be paused
        scheduler = _Median(**rule)
    else:
        scheduler = _None()  # type: ignore[no-untyped-call]
    for record in records:
        if record.state in ("finished", "stopped"):
            _replay(scheduler, record)
    return scheduler


def _replay(scheduler: Any, record: TrialRecord) -> None:
    """Tell ``scheduler`` what it was told while the trial ran."""
    results = [as_result(point) for point in record.points if point.value is not None]
    if not results:
        return
    trial = _Recorded(f"recorded-{record.number}", {NUMBER: record.number})
    scheduler.on_trial_add(None, trial)
    for result in results:
        scheduler.on_trial_result(None, trial, result | {LAST: True})
    scheduler.on_trial_complete(None, trial, results[-1])


def as_result(point: Point) -> dict[str, Any]:
    """``point`` as a trial reports it to Ray Tune."""
    return {EPOCHS: point.epochs, VALUE: math.nan if point.value is None else point.value}
