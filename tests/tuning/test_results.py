from __future__ import annotations

import json

from kard_ray.tuning.results import trial_of, trial_table
from kard_ray.tuning.tables import markdown, ranked, reasons, short_names, summary
from tests.tuning.sweeps import CONFIG, OWN, ended_sweep, record, results_of


def test_results_are_plain_json_and_know_the_best_and_the_recipes_own() -> None:
    results = results_of(ended_sweep())
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert results["states"] == {"finished": 6, "stopped": 4, "failed": 1, "running": 1}
    assert (results["best"], results["own"]) == (5, 0)
    assert results["space"]["reranker.loss"] == {"values": "kl, cross_entropy", "own": "kl"}
    assert set(results["importance"]) == set(CONFIG.space)
    best = trial_of(results, "best")
    assert best is not None
    assert best["score"] == 0.45


def test_a_sweep_without_a_finished_trial_has_no_best() -> None:
    results = results_of([record(0, "stopped"), record(1, "failed", None, failures=1, reason="why.")])
    assert results["best"] is None
    assert trial_of(results, "best") is None
    assert summary(results).endswith("No trial has finished.")
    assert "| reranker.loss | kl, cross_entropy | kl | – |" in markdown(results)


def test_the_table_of_trials_has_a_column_for_each_field() -> None:
    table = trial_table(CONFIG, ended_sweep())
    assert table.num_rows == 12
    assert set(CONFIG.space) < set(table.column_names)
    assert table["reranker.learning_rate"].to_pylist()[:2] == [OWN["reranker.learning_rate"], 2e-5]
    assert table["reranker.dimensions"].to_pylist()[:3] == [None, 64, 96]
    assert [point["epochs"] for point in table["points"].to_pylist()[1]] == [1.0, 2.0]
    mixed = trial_table(CONFIG, [record(0), record(1, values=OWN | {"reranker.loss": 3})])
    assert mixed["reranker.loss"].to_pylist() == ["kl", "3"]


def test_finished_trials_stand_before_all_others_the_best_first() -> None:
    order = [trial["number"] for trial in ranked(results_of(ended_sweep()))]
    assert order == [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 11, 10]
    least = [trial["number"] for trial in ranked(results_of(ended_sweep(), mode="min"))]
    assert least[:6] == [0, 1, 2, 3, 4, 5]


def test_the_summary_counts_and_names_the_best() -> None:
    told = summary(results_of(ended_sweep()))
    assert told.startswith("12 trials (6 finished, 4 stopped early, 1 failed, 1 interrupted) in ")
    assert told.endswith("The best is trial 5 with 0.45; the recipe's own values have 0.4.")


def test_failures_are_told_with_their_cause() -> None:
    assert reasons(results_of(ended_sweep())) == [
        "trial 10 failed 2 times: <b>no memory</b> & more.",
        "trial 11 failed 1 time, and then went on: a worker died.",
    ]


def test_markdown_has_fields_trials_and_failures() -> None:
    text = markdown(results_of(ended_sweep()))
    assert "| reranker.learning_rate | 1e-05 to 0.001, logarithmic | 0.01 | 6e-05 |" in text
    assert "| 0 (recipe) | finished | 0.4 | 2 | 1.0 | 0.01 | kl | null | 5 |" in text
    assert "## Trials that failed" in text


def test_names_are_short_where_they_tell_fields_apart() -> None:
    assert short_names(["a.rate", "b.rate", "b.c.size"]) == {
        "a.rate": "a.rate",
        "b.rate": "b.rate",
        "b.c.size": "size",
    }
