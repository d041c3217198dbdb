"""What a trial's training tells Ray Tune while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from kard_ray.tuning.run import FINISHED, POINTS, REPORT
from kard_ray.tuning.schedulers import EPOCHS, LAST, VALUE


class Forward(TuneReportCallback):
    """Passes on those of worker 0's reports in which the sweep's metric is measured; lives in Ray Train's controller.

    ``measured`` is the metric's name there. Reports have ``step`` of ``steps``, which make ``epochs``.
    """

    def __init__(self, measured: str, *, epochs: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._measured, self._epochs = measured, epochs

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """As Ray Train calls it, after all workers have reported."""
        report = metrics[0]
        if self._measured not in report:
            return
        numbers = {name: value for name, value in report.items() if isinstance(value, int | float)}
        done = report["step"] / report["steps"]
        result = {
            EPOCHS: done * self._epochs,
            VALUE: float(report[self._measured]),
            LAST: report["step"] == report["steps"],
            REPORT: numbers,
        }
        super().after_report(run_context, [result], None)


def final_result(
    points: Sequence[tuple[float, float]], score: float | None, epochs: float
) -> Mapping[str, Any]:
    """A trial's last result: its model is there, and this is its ``score``; ``points`` are (epochs, value)."""
    return {
        EPOCHS: epochs,
        VALUE: math.nan if score is None else score,
        LAST: True,
        FINISHED: True,
        POINTS: [list(point) for point in points],
    }
