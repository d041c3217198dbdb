from __future__ import annotations

import math
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.tune.search import Searcher

from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.tuning.config import Distribution, SweepConfig
from kard_ray.tuning.reports import final_result
from kard_ray.tuning.run import OWN, REPORT, VALUES, Listener, _Search, _Time, side_by_side
from kard_ray.tuning.schedulers import EPOCHS, LAST, NUMBER, VALUE
from kard_ray.tuning.search import Suggestions
from kard_ray.tuning.trials import Point, TrialBook, TrialRecord

SPACE = {"reranker.epochs": Distribution(integers=(1, 100))}


def config_of(**fields: Any) -> SweepConfig:
    return SweepConfig.model_validate({"space": SPACE, "trials": 4} | fields)


def book_of(*records: TrialRecord, root: str | None = None) -> TrialBook:
    run = RunDirectory(root or f"memory://{uuid.uuid4().hex}")
    book = TrialBook(run, f"{run.path}/sweep")
    for record in records:
        book.write(record)
    return book


@pytest.mark.parametrize(
    ("fields", "trial", "cluster", "count"),
    [
        ({}, (1, 0), (3, 0), 2),  # a local cluster on two cores, which declares one more
        ({}, (2, 0), (3, 0), 1),
        ({}, (8, 0), (4, 0), 1),  # never none: Ray waits, and says so
        ({}, (4, 0), (65, 0), 16),
        ({}, (2, 1), (65, 8), 8),
        ({}, (2, 2), (65, 8), 4),
        ({}, (1, 0.5), (65, 2), 4),
        ({}, (1, 1), (65, 0), 1),
        ({"concurrency": 3}, (1, 0), (65, 0), 3),
    ],
)
def test_as_many_trials_run_at_once_as_the_cluster_has_room_for(
    fields: dict[str, Any], trial: tuple[float, float], cluster: tuple[float, float], count: int
) -> None:
    assert (
        side_by_side(
            config_of(**fields),
            cpus=trial[0],
            gpus=trial[1],
            cluster_cpus=cluster[0],
            cluster_gpus=cluster[1],
        )
        == count
    )


# -- what Ray Tune is given --


def search_of(config: SweepConfig, book: TrialBook) -> _Search:
    own = {"reranker.epochs": 3}
    return _Search(Suggestions(config, "max", book, own=own, fault=lambda values: None), config, book)


def test_a_trials_configuration_says_whose_values_it_has() -> None:
    book = book_of()
    search = search_of(config_of(trials=2), book)
    first, second = search.suggest("x"), search.suggest("y")
    assert first == {NUMBER: 0, VALUES: {"reranker.epochs": 3}, OWN: True}
    assert (second[NUMBER], second[OWN]) == (1, False)
    assert search.suggest("z") == Searcher.FINISHED
    assert [record.state for record in book.records] == ["running", "running"]


def test_no_trial_begins_when_the_epochs_are_used() -> None:
    spent = TrialRecord(
        number=0, values={"reranker.epochs": 5}, state="finished", points=(Point(epochs=5, value=1),)
    )
    assert search_of(config_of(epochs=5), book_of(spent)).suggest("x") == Searcher.FINISHED
    assert search_of(config_of(epochs=5.5), book_of(spent)).suggest("x")[NUMBER] == 1


def test_the_sweep_ends_when_its_minutes_are_over_also_those_of_earlier_calls(tmp_path: Path) -> None:
    book_of(TrialRecord(number=0, values={}), root=str(tmp_path))
    (tmp_path / "sweep" / "trials" / "seconds").write_text("120\n")
    book = book_of(root=str(tmp_path))
    assert _Time(config_of(minutes=2), book).stop_all()
    assert not _Time(config_of(minutes=60), book).stop_all()
    assert not _Time(config_of(), book).stop_all()


# -- what it tells --


class Ears:
    """A listener, what it said, and Ray Tune's side of some trials."""

    def __init__(self, tmp_path: Path, *numbers: int, keep: str = "best") -> None:
        self.said: list[str] = []
        self.folder = tmp_path
        self.book = book_of(
            *(TrialRecord(number=n, values={"reranker.epochs": 4}) for n in numbers), root=str(tmp_path)
        )
        self.listener = Listener(
            self.book, config_of(keep=keep), metric="hits@1", mode="max", say=self.said.append, explain=str
        )
        for number in numbers:
            weights = tmp_path / "sweep" / "trials" / f"{number:04}" / "weights"
            weights.parent.mkdir()
            weights.write_text("x")

    def trial(self, number: int) -> Any:
        config = {NUMBER: number, VALUES: {"reranker.epochs": 4}, OWN: number == 0}
        return SimpleNamespace(config=config, pickled_error_file=str(self.folder / "error"))

    def start(self, number: int) -> None:
        self.listener.on_trial_start(1, [], self.trial(number))

    def report(self, number: int, epochs: float, value: float) -> None:
        result = {EPOCHS: epochs, VALUE: value, LAST: False, REPORT: {"hits@1": value, "loss": math.inf}}
        self.listener.on_trial_result(1, [], self.trial(number), result)

    def end(self, number: int) -> None:
        self.listener.on_trial_complete(1, [], self.trial(number))

    def finish(self, number: int, score: float, points: list[tuple[float, float]]) -> None:
        self.listener.on_trial_result(1, [], self.trial(number), dict(final_result(points, score, 4.0)))
        self.end(number)

    def fail(self, number: int, *, again: bool) -> None:
        (self.folder / "error").write_bytes(cloudpickle.dumps(ValueError("no memory.")))
        tell = self.listener.on_trial_recover if again else self.listener.on_trial_error
        tell(1, [], self.trial(number))

    def kept(self) -> list[int]:
        return [
            int(path.parent.name) for path in sorted((self.folder / "sweep" / "trials").glob("*/weights"))
        ]


def test_a_finished_trial_has_its_whole_curve_and_the_score_of_its_model(tmp_path: Path) -> None:
    ears = Ears(tmp_path, 0)
    ears.start(0)
    ears.report(0, 2.0, 0.5)
    ears.finish(0, 0.6, [(1.0, 0.4), (2.0, 0.5), (4.0, 0.6)])
    (record,) = ears.book.records
    assert (record.state, record.score, record.epochs) == ("finished", 0.6, 4.0)
    assert [(point.epochs, point.value) for point in record.points] == [(1.0, 0.4), (2.0, 0.5), (4.0, 0.6)]
    assert record.points[1].metrics == {"hits@1": 0.5, "loss": None}
    assert record.ended is not None
    assert ears.said[0] == "trial 0: starts (the recipe's own values: reranker.epochs 4)"
    assert ears.said[-1].startswith(
        "trial 0: finished, hits@1 0.6, the best so far is 0.6 (trial 0); 1 of 4 trials"
    )


def test_a_trial_that_ended_before_its_training_was_stopped(tmp_path: Path) -> None:
    ears = Ears(tmp_path, 0, 1)
    ears.start(0)
    ears.report(0, 1.0, 0.3)
    ears.end(0)
    ears.start(1)
    ears.report(1, 1.0, math.nan)
    ears.end(1)
    first, second = ears.book.records
    assert (first.state, first.score, first.reason) == ("stopped", 0.3, None)
    assert (second.state, second.score, second.reason) == ("stopped", None, "hits@1 was no number")


def test_a_failed_trial_is_told_each_time_and_keeps_its_cause(tmp_path: Path) -> None:
    ears = Ears(tmp_path, 0)
    ears.start(0)
    ears.fail(0, again=True)
    assert (ears.book[0].state, ears.book[0].failures) == ("running", 1)
    ears.fail(0, again=False)
    assert (ears.book[0].state, ears.book[0].failures, ears.book[0].reason) == ("failed", 2, "no memory.")
    assert ears.said[1:] == [
        "trial 0: failed and is tried again: no memory.",
        "trial 0: failed; 1 of 4 trials, about 0 min left: no memory.",
    ]


@pytest.mark.parametrize(("keep", "left"), [("best", [1, 3]), ("all", [0, 1, 2, 3])])
def test_only_the_best_model_is_kept_unless_told(tmp_path: Path, keep: str, left: list[int]) -> None:
    ears = Ears(tmp_path, 0, 1, 2, 3, keep=keep)  # trial 3 still runs
    for number, score in ((0, 0.5), (1, 0.6), (2, 0.4)):
        ears.start(number)
        ears.finish(number, score, [(4.0, score)])
    assert ears.kept() == left
