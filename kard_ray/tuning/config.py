"""Settings of a sweep: which fields are varied, how, and how much of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from kard_ray.runtime.config import Frozen, Seed
from kard_ray.tuning.targets import Mode, TargetName, target_of

Scalar = bool | int | float | str | None

_KINDS = ("uniform", "log_uniform", "integers", "choice")
_DIGITS = 4  # of drawn numbers: people read and copy them
_INSIDE = 0.382  # where, between its ends, a range is tried before the sweep: a number that no field takes by chance


class Distribution(Frozen):
    """Where the values of one field come from: exactly one of the four kinds."""

    uniform: tuple[float, float] | None = None  # any number from the first to the second
    log_uniform: tuple[float, float] | None = None  # the same, with every power of ten as likely as another
    integers: tuple[int, int] | None = None  # whole numbers, both ends too
    choice: tuple[Scalar, ...] | None = Field(None, min_length=1)
    step: float | None = Field(None, gt=0)  # of uniform and integers: only so far apart, from the first on

    @model_validator(mode="after")
    def _is_one_kind(self) -> Distribution:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"it has {' and '.join(given) or 'none'} of {', '.join(_KINDS)}; exactly one of them must be there"
            )
        if self.choice is not None and len({(type(value), value) for value in self.choice}) < len(
            self.choice
        ):
            raise ValueError("a value of choice stands there twice")
        if self.step is not None and given[0] in ("log_uniform", "choice"):
            raise ValueError(f"step goes with uniform and integers, not with {given[0]}")
        ends = self._ends
        if ends is None:
            return self
        low, high = ends
        if not low < high:
            raise ValueError(f"{given[0]} goes from {low:g} to {high:g}; the first must be the smaller one")
        if self.log_uniform is not None and low <= 0:
            raise ValueError(f"log_uniform begins with {low:g}, but only numbers above 0 have a logarithm")
        if self.step is not None and self.step > high - low:
            raise ValueError(f"step is {self.step:g}, more than there is from {low:g} to {high:g}")
        if self.integers is not None and self.step is not None and not self.step.is_integer():
            raise ValueError(f"step is {self.step:g}, but integers are a whole number apart")
        return self

    @property
    def _ends(self) -> tuple[float, float] | None:
        return self.uniform or self.log_uniform or self.integers

    def values(self) -> tuple[Scalar, ...] | None:
        """Every value there is, in order; None where there is one between any two."""
        if self.choice is not None:
            return self.choice
        if self.integers is not None:
            return tuple(range(self.integers[0], self.integers[1] + 1, int(self.step or 1)))
        if self.uniform is not None and self.step is not None:
            low, high = self.uniform
            count = int((high - low) / self.step * (1 + 1e-9)) + 1
            return tuple(_rounded(low + at * self.step, 10) for at in range(count))
        return None

    def probes(self) -> tuple[Scalar, ...]:
        """Values that tell whether the field takes all of them: each choice, or the ends and one between them."""
        if self.choice is not None:
            return self.choice
        if self.integers is not None:
            values = self.values() or ()
            return (values[0], values[int(len(values) * _INSIDE)], values[-1])
        assert self._ends is not None  # there are no other kinds
        low, high = self._ends
        return (low, self.tidy(low + (high - low) * _INSIDE), high)

    def tidy(self, value: Any) -> Any:
        """``value`` as it is used: drawn numbers have few digits, and stay inside."""
        if not isinstance(value, float) or self._ends is None:
            return value
        low, high = self._ends
        return min(max(_rounded(value, 10 if self.step else _DIGITS), low), high)

    def holds(self, value: Any) -> bool:
        """Whether ``value`` could be drawn."""
        every = self.values()
        if every is not None:
            return any(isinstance(value, bool) is isinstance(mine, bool) and value == mine for mine in every)
        assert self._ends is not None
        low, high = self._ends
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    def text(self) -> str:
        """For people: ``1e-05 to 0.001, logarithmic``."""
        if self.choice is not None:
            return ", ".join(map(scalar_text, self.choice))
        assert self._ends is not None
        low, high = self._ends
        how = ", logarithmic" if self.log_uniform else ", whole numbers" if self.integers else ""
        return f"{low:g} to {high:g}{how}" + (f", {self.step:g} apart" if self.step else "")


class SweepConfig(Frozen):
    """A search for the values of some fields with which one training stage does best on held-out questions."""

    # More trials, or others side by side, go on with the same sweep.
    EXECUTION = frozenset({"trials", "minutes", "epochs", "concurrency", "max_failures", "keep"})

    target: TargetName = "reranker"  # what is trained: the reranker, or the student of a method
    space: dict[str, Distribution] = Field(min_length=1)  # field (reranker.learning_rate) -> its values
    search: Literal["optuna", "random", "grid"] = "optuna"  # optuna: its TPE
    # Which trials are stopped early: those behind the best 1 / reduction where they stand (asha), those behind the
    # median of the others' means (median), none.
    scheduler: Literal["asha", "median", "none"] = "asha"
    grace: float | None = Field(None, gt=0)  # epochs that every trial gets; null: a quarter of the longest's
    # asha: grace, and so many times as much each time, is where it decides
    reduction: float = Field(3.0, gt=1)
    metric: str | None = None  # null: hits@1 of the reranker, what held-out questions measure of a student
    mode: Mode | None = None  # null: max, for a loss min
    own: bool = True  # trial 0 has the recipe's own values, and is never stopped early
    trials: int = Field(20, ge=1)  # at most, with those of earlier calls
    # Of all calls together; what then still runs goes on in the next one
    minutes: float | None = Field(None, gt=0)
    epochs: float | None = Field(None, gt=0)  # of all trials together
    # Trials side by side; null: as many as the cluster has room for
    concurrency: int | None = Field(None, ge=1)
    max_failures: int = Field(1, ge=0)  # times that a trial which failed is tried again
    keep: Literal["best", "all"] = "best"  # which trials' trained models are kept
    seed: Seed = 42

    @model_validator(mode="after")
    def _metric_fits(self) -> SweepConfig:
        known = target_of(self.target).metrics
        if self.metric is not None and self.metric not in known:
            raise ValueError(
                f"metric is {self.metric!r}, but trials of {self.target} report {', '.join(known)}; name one of them"
            )
        return self

    def content(self) -> dict[str, Any]:
        """As every configuration's; of a distribution only what is given."""
        given = {
            field: values.model_dump(mode="json", exclude_none=True) for field, values in self.space.items()
        }
        return super().content() | {"space": given}


def scalar_text(value: Any) -> str:
    """A field's value as in a recipe, numbers short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
