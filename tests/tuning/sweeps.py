"""A sweep that has ended, for tests of what is made of it."""

from __future__ import annotations

import uuid
from typing import Any

from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.tuning.config import Distribution, SweepConfig
from kard_ray.tuning.results import make_results
from kard_ray.tuning.trials import TrialBook, TrialRecord

SPACE = {
    "reranker.learning_rate": Distribution(log_uniform=(1e-5, 1e-3)),
    "reranker.loss": Distribution(choice=("kl", "cross_entropy")),
    "reranker.dimensions": Distribution(integers=(32, 128), step=32),
    "reranker.rationale_temperature": Distribution(uniform=(1, 9)),
}
CONFIG = SweepConfig(space=SPACE, trials=12)
OWN = {
    "reranker.learning_rate": 1e-2,  # outside of the space
    "reranker.loss": "kl",
    "reranker.dimensions": None,  # no number among numbers
    "reranker.rationale_temperature": 5.0,
}


def record(number: int, state: str = "finished", score: float | None = 0.5, **more: Any) -> TrialRecord:
    values = {
        "reranker.learning_rate": 1e-5 * (number + 1),
        "reranker.loss": ("kl", "cross_entropy")[number % 2],
        "reranker.dimensions": (32, 64, 96, 128)[number % 4],
        "reranker.rationale_temperature": 1.0 + number % 3,
    }
    points = [] if score is None else [{"epochs": 1, "value": score / 2}, {"epochs": 2, "value": score}]
    fields = {
        "values": values,
        "points": points,
        "ended": f"2030-01-01T00:{number:02}:00+00:00",
        "seconds": 60,
    }
    return TrialRecord.model_validate(fields | {"number": number, "state": state, "score": score} | more)


def ended_sweep() -> list[TrialRecord]:
    """Twelve trials: the recipe's own, finished, stopped, failed and interrupted ones."""
    return [
        record(0, values=OWN, score=0.4),
        *(record(number, score=0.4 + number / 100) for number in range(1, 6)),
        *(record(number, "stopped", score=0.1) for number in range(6, 9)),
        record(9, "stopped", score=None, reason="hits@1 was no number"),
        record(10, "failed", score=None, failures=2, reason="<b>no memory</b> & more."),
        record(11, "running", score=None, ended=None, failures=1, reason="a worker died."),
    ]


def results_of(records: list[TrialRecord], **more: Any) -> dict[str, Any]:
    run = RunDirectory(f"memory://{uuid.uuid4().hex}")
    book = TrialBook(run, f"{run.path}/sweep")
    for one in records:
        book.write(one)
    return {
        "recipe": "<i>tiny</i>",
        **make_results(CONFIG, "hits@1", "max", book, OWN),
        "machine": {"CPUs": 2},
        "package_version": "1",
        "command": "kard-ray sweep 'x' & y",
        "run_directory": "runs/x",
        **more,
    }
