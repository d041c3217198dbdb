"""Which values the next trial has: asked of an Optuna study that knows every trial so far, or taken from a grid.

The study is made anew from the records for each trial. So what trial n gets depends on the seed, n and what is known by
then, not on how often the sweep was interrupted. No values are suggested twice.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from kard_ray.tuning.config import Distribution, SweepConfig
from kard_ray.tuning.space import Values, combinations
from kard_ray.tuning.targets import Mode
from kard_ray.tuning.trials import TrialBook, TrialRecord

_DRAWS = 100  # for one trial, before the space counts as used up
_STEPS = 1000  # of an epoch: Optuna counts a trial's progress in whole numbers
_FEWEST = 8  # trials with a score that tell anything about the importance of fields
_GOOD = 0.3  # share of the trials that count as good there

_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "running": TrialState.RUNNING}


class Suggestions:
    """The trials of a sweep one after the other, each written into ``book`` before it starts.

    Interrupted and failed trials of earlier calls come first, then the recipe's ``own`` values, then new ones.
    ``fault`` says why values do not go together, or None.
    """

    def __init__(
        self,
        config: SweepConfig,
        mode: Mode,
        book: TrialBook,
        *,
        own: Values,
        fault: Callable[[Values], str | None],
    ) -> None:
        self._config, self._mode, self._book = config, mode, book
        self._own, self._fault = own, fault
        self._again = deque(r for r in book.records if r.state in ("running", "failed"))
        self.used_up: str | None = None  # why there is no further trial, when that is not the budget's end

    def next(self) -> TrialRecord | None:
        """The next trial to run, or None."""
        if self._again:
            # What an interrupted trial has trained is still there: it goes on.
            record = self._again.popleft().model_copy(update={"state": "running", "ended": None})
        else:
            number = len(self._book.records)
            values = self._new(number) if number < self._config.trials else None
            if values is None:
                return None
            record = TrialRecord(number=number, values=values)
        self._book.write(record)
        return record

    def _new(self, number: int) -> Values | None:
        if self._config.own and number == 0:
            return self._own
        tried = {_key(record.values) for record in self._book.records}
        if self._config.search == "grid":
            for values in combinations(self._config.space, self._config.space):
                if _key(values) not in tried and self._fault(values) is None:
                    return values
            self.used_up = "every combination was tried"
            return None
        study = make_study(self._config.space, self._mode, self._book.records)
        told = None
        for draw in range(_DRAWS):
            study.sampler = _sampler(self._config, number, draw)
            asked = study.ask(distributions(self._config.space))
            values = {name: self._config.space[name].tidy(value) for name, value in asked.params.items()}
            told = self._fault(values)
            if told is None and _key(values) not in tried:
                return values
            study.tell(asked, state=TrialState.FAIL)
        self.used_up = f"{_DRAWS} draws gave no new values" + (f" ({told})" if told else "")
        return None


def make_study(space: Mapping[str, Distribution], mode: Mode, records: Sequence[TrialRecord]) -> optuna.Study:
    """A study that knows ``records``, but those that failed or whose values are outside of ``space``."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    for record in records:
        _add(study, space, record, _STATES.get(record.state))
    return study


def _add(
    study: optuna.Study, space: Mapping[str, Distribution], record: TrialRecord, state: TrialState | None
) -> None:
    if state is None or not all(space[name].holds(value) for name, value in record.values.items()):
        return
    if state is TrialState.COMPLETE and record.score is None:
        return
    values: dict[int, float] = {}
    if state is TrialState.PRUNED:
        values = {round(p.epochs * _STEPS): p.value for p in record.points if p.value is not None}
    study.add_trial(
        create_trial(
            state=state,
            params=dict(record.values),
            distributions=distributions(space),
            intermediate_values=values,
            value=record.score if state is TrialState.COMPLETE else None,
        )
    )


def distributions(space: Mapping[str, Distribution]) -> dict[str, BaseDistribution]:
    """``space`` in Optuna's words."""
    return {name: _distribution(values) for name, values in space.items()}


def _distribution(values: Distribution) -> Any:
    if values.choice is not None:
        return CategoricalDistribution(values.choice)
    if values.log_uniform is not None:
        return FloatDistribution(*values.log_uniform, log=True)
    every: tuple[Any, ...] | None = values.values()  # the last one may lie below the end
    if values.integers is not None:
        return IntDistribution(values.integers[0], (every or ())[-1], step=int(values.step or 1))
    assert values.uniform is not None
    low, high = values.uniform
    return FloatDistribution(low, every[-1] if every else high, step=values.step)


def _sampler(config: SweepConfig, number: int, draw: int) -> optuna.samplers.BaseSampler:
    digest = hashlib.sha256(f"{config.seed}:{number}:{draw}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if config.search == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # Trials that still run count as bad ones, so that the next is not drawn beside them.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _key(values: Values) -> tuple[tuple[str, str], ...]:
    """The same for values that train the same model."""
    return tuple(
        (name, repr(float(v) if isinstance(v, int) and not isinstance(v, bool) else v))
        for name, v in sorted(values.items())
    )


def importances(
    space: Mapping[str, Distribution], mode: Mode, records: Sequence[TrialRecord]
) -> dict[str, float]:
    """How much each field tells the best trials from all, as shares of 1 (PED-ANOVA), the largest first.

    Trials that were stopped early count with what they had by then. Empty for too few trials.
    """
    study = make_study(space, mode, [])
    for record in records:
        if record.state in ("finished", "stopped") and record.score is not None:
            _add(study, space, record, TrialState.COMPLETE)
    if len(study.trials) < _FEWEST:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_GOOD)
    return {name: float(share) for name, share in get_param_importances(study, evaluator=evaluator).items()}
