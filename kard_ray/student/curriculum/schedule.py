"""How much help is left at each stage: from all of it to none (SKIntern, section 3.2).

Stage t of T keeps the fraction S_t of the symbolic knowledge's tokens and floor(K * S_t) of its K examples;
S_1 = 1 and S_T = 0, so that the last stage trains on the input that inference sees. With T = 4 and K = 6 the
linear schedule keeps 1, 2/3, 1/3, 0 of the knowledge and 6, 4, 2, 0 examples.

The paper names three shapes and gives a form to none but the linear one. With u = (t - 1) / (T - 1):

    linear       S = 1 - u
    exp          S = (exp(-r u) - exp(-r)) / (1 - exp(-r))   falls fast first
    inverse_exp  S = 1 - exp's S at 1 - u                    falls slowly first, exp turned by half a turn

r = 3 is chosen here: at T = 4 the second stage then keeps 0.33 (exp) or 0.91 (inverse_exp), linear 0.67, so
the three shapes differ by about one stage. A smaller r would bring both closer to the linear one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

from pydantic import Field

from kard_ray.runtime.config import Frozen

Shape = Literal["linear", "exp", "inverse_exp"]
Item = TypeVar("Item")

_RATE = 3.0  # r above
_ROUNDING = 1e-9  # examples; far above the error of K * S_t in floats, far below one example


class ScheduleConfig(Frozen):
    """How the kept fraction falls from stage to stage."""

    shape: Shape = "linear"
    stages: int = Field(4, ge=2, le=64)  # T; the paper's "decay steps" + 1


def fractions(config: ScheduleConfig) -> tuple[float, ...]:
    """S_t for t = 1..T: the first is 1.0, the last 0.0, none larger than the one before."""
    last = config.stages - 1
    return tuple(_kept(config.shape, step, last) for step in range(config.stages))


def _kept(shape: Shape, step: int, last: int) -> float:
    """S after ``step`` of ``last`` steps."""
    if shape == "linear":
        return (last - step) / last
    if shape == "exp":
        return _fast_first(step / last)
    return 1.0 - _fast_first((last - step) / last)


def _fast_first(u: float) -> float:
    end = math.exp(-_RATE)
    return (math.exp(-_RATE * u) - end) / (1.0 - end)


def examples_at(k: int, fraction: float) -> int:
    """floor(``k`` * ``fraction``), the examples kept of ``k``; 6 * (1 - 1/3) is 4 whatever floats make of it.

    Raises ValueError if ``k`` is negative or ``fraction`` is not from 0 to 1.
    """
    if k < 0 or not 0.0 <= fraction <= 1.0:
        raise ValueError(f"got k={k}, fraction={fraction}; expected k >= 0 and a fraction from 0 to 1")
    return math.floor(k * fraction + _ROUNDING)


def nearest_at(items: Sequence[Item], fraction: float) -> Sequence[Item]:
    """What a stage that keeps ``fraction`` (0 to 1) shows of K examples or passages: the first floor(K * fraction).

    ``items`` stand nearest first. Of two fractions, the smaller one's items are the first of the larger one's. K is
    ``len(items)``: where fewer were found than asked for, they shrink in proportion. Raises ValueError for another
    fraction.
    """
    return items[: examples_at(len(items), fraction)]
