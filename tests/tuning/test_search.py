from __future__ import annotations

import math
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.tuning.config import Distribution, SweepConfig
from kard_ray.tuning.search import Suggestions, importances
from kard_ray.tuning.space import Values
from kard_ray.tuning.trials import Point, TrialBook, TrialRecord

SPACE = {
    "student.learning_rate": Distribution(log_uniform=(1e-5, 1e-1)),
    "student.batch_size": Distribution(integers=(8, 64), step=8),
    "student.choose": Distribution(choice=("random", "shortest")),
}
OWN: Values = {"student.learning_rate": 1e-3, "student.batch_size": 16, "student.choose": "random"}


def config_of(**fields: Any) -> SweepConfig:
    return SweepConfig(**({"target": "kard", "space": SPACE, "trials": 12} | fields))


def book_at(root: str) -> TrialBook:
    run = RunDirectory(root)
    return TrialBook(run, f"{run.path}/sweep")


def new_book() -> TrialBook:
    return book_at(f"memory://{uuid.uuid4().hex}")


def no_fault(values: Values) -> str | None:
    return None


def suggestions(config: SweepConfig, book: TrialBook, **more: Any) -> Suggestions:
    return Suggestions(config, "min", book, **({"own": OWN, "fault": no_fault} | more))


def loss(values: Values) -> float:
    """Best at a learning rate of 0.01; nothing else matters."""
    rate = values.get("student.learning_rate", 1.0)
    assert isinstance(rate, float)
    return abs(math.log10(rate) + 2)


def finish(book: TrialBook, record: TrialRecord, state: str = "finished") -> None:
    value = loss(record.values)
    more = {"state": state, "score": value, "points": (Point(epochs=1, value=value),)}
    book.write(record.model_copy(update=more))


def run_all(config: SweepConfig, book: TrialBook, **more: Any) -> list[TrialRecord]:
    source = suggestions(config, book, **more)
    while (record := source.next()) is not None:
        finish(book, record)
    return book.records


@pytest.mark.parametrize("search", ["optuna", "random"])
def test_trials_are_different_inside_the_space_and_the_recipes_own_comes_first(search: str) -> None:
    records = run_all(config_of(search=search), new_book())
    assert [record.number for record in records] == list(range(12))
    assert records[0].values == OWN
    assert len({tuple(record.values.values()) for record in records}) == 12
    for record in records:
        assert all(SPACE[name].holds(value) for name, value in record.values.items())


@settings(max_examples=5)
@given(cut=st.integers(1, 11), search=st.sampled_from(["optuna", "random"]))
def test_an_interrupted_search_suggests_what_an_uninterrupted_one_does(cut: int, search: str) -> None:
    config = config_of(search=search)
    whole = run_all(config, new_book())
    book = new_book()
    source = suggestions(config, book)
    for _ in range(cut):
        record = source.next()
        assert record is not None
        finish(book, record)
    assert [record.values for record in run_all(config, book)] == [record.values for record in whole]


def test_interrupted_and_failed_trials_come_first_and_keep_their_numbers() -> None:
    config, book = config_of(trials=5), new_book()
    source = suggestions(config, book)
    first, second, third = (source.next() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    finish(book, first)
    book.write(third.model_copy(update={"state": "failed", "reason": "no memory", "failures": 2}))
    again = suggestions(config, book)
    order = []
    while (record := again.next()) is not None:
        order.append((record.number, record.state))
        finish(book, record)
    assert order == [(1, "running"), (2, "running"), (3, "running"), (4, "running")]
    assert book[1].values == second.values
    assert book[2].failures == 2


def test_a_grid_is_gone_through_once_without_what_was_tried() -> None:
    space = {
        "student.epochs": Distribution(choice=(1, 2, 3)),
        "student.passages": Distribution(integers=(1, 2)),
    }
    config = config_of(search="grid", space=space, trials=50)
    book = new_book()
    source = suggestions(config, book, own={"student.epochs": 2.0, "student.passages": 1})
    tried = []
    while (record := source.next()) is not None:
        tried.append(tuple(record.values.values()))
    assert tried == [(2.0, 1), (1, 1), (1, 2), (2, 2), (3, 1), (3, 2)]
    assert source.used_up == "every combination was tried"


def test_values_that_do_not_go_together_are_not_suggested() -> None:
    def fault(values: Values) -> str | None:
        return "too small." if values["student.batch_size"] == 8 else None

    records = run_all(config_of(trials=20), new_book(), fault=fault)
    assert len(records) == 20
    assert all(record.values["student.batch_size"] != 8 for record in records)
    source = suggestions(config_of(own=False), new_book(), fault=lambda values: "never right.")
    assert source.next() is None
    assert source.used_up == "100 draws gave no new values (never right.)"


def test_a_small_space_is_used_up() -> None:
    space = {"student.passages": Distribution(integers=(1, 3))}
    for search in ("optuna", "random"):
        config = config_of(search=search, space=space)
        assert len(run_all(config, new_book(), own={"student.passages": 2})) == 3


def test_without_the_recipes_own_values_the_first_trial_is_drawn() -> None:
    records = run_all(config_of(own=False, trials=3), new_book())
    assert len(records) == 3
    assert records[0].values != OWN


def test_tpe_learns_from_trials_also_from_those_that_were_stopped() -> None:
    def mean_of_last(search: str) -> float:
        config, book = config_of(search=search, trials=40), new_book()
        source = suggestions(config, book)
        while (record := source.next()) is not None:
            finish(book, record, "finished" if loss(record.values) < 1 else "stopped")
        return sum(loss(record.values) for record in book.records[25:]) / 15

    assert mean_of_last("optuna") < 0.6 * mean_of_last("random")


def test_the_field_that_matters_is_found_and_few_trials_tell_nothing() -> None:
    config = config_of(search="random", trials=40)
    records = run_all(config, new_book())
    found = importances(SPACE, "min", records)
    assert next(iter(found)) == "student.learning_rate"
    assert sum(found.values()) == pytest.approx(1)
    assert importances(SPACE, "min", records[:5]) == {}
