"""Trials on Ray Tune: real trainings of rerankers side by side, and what becomes of trials that must end."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from kard_ray.reranker.config import RERANKER_FOLDER
from kard_ray.reranker.model import load_reranker
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.sweep import reason
from kard_ray.sweep_plan import Plan, make_plan
from kard_ray.sweep_trial import adopt, run_trial, trained_step
from kard_ray.tuning.run import NUMBER, run_trials
from kard_ray.tuning.schedulers import EPOCHS, LAST, VALUE, make_scheduler
from kard_ray.tuning.search import Suggestions
from kard_ray.tuning.trials import TrialBook, best_of
from tests.knowledge.rows import write_base
from tests.reranker.training_cases import VOCABULARY, tables
from tests.sweep_plans import recipe_with
from tests.tiny_models import VOCAB_TEXT, tiny_bert

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(600)]

TOO_LONG = 100_000  # tokens, more than the tiny encoder has positions for


def plan_in(folder: Path, recipe_path: str, **sweep: Any) -> Plan:
    """Checked, with a knowledge base and the candidates that its trials share."""
    bert = tiny_bert(folder / "bert", f"{VOCAB_TEXT} {VOCABULARY}")
    reranker = (
        f"reranker={{model: {bert}, precision: fp32, epochs: 3, batch_size: 6, learning_rate: 0.01, max_failures: 0, "
        "max_query_tokens: 16, max_passage_tokens: 16, candidates_per_step: 6}"
    )
    recipe = recipe_with(recipe_path, sweep, "knowledge.embedder=null", reranker)
    plan = make_plan(recipe, RunDirectory(str(folder / "run")))
    knowledge, candidates = plan.base.knowledge_artifact, plan.base.candidates_artifact
    version = write_base(knowledge.path, [[("p1", "", "A fact.")]])
    knowledge.seal(rows={}, counts={"knowledge_base_version": version.number})
    for name, table in zip(("candidates", "passages"), tables(), strict=True):
        candidates.write_table(f"{name}.parquet", table)
    candidates.seal(rows={})
    return plan


def run(plan: Plan, book: TrialBook, trial: Any = None) -> list[str]:
    """One call of the sweep; returns what was said."""
    said: list[str] = []
    run_trials(
        trial or partial(run_trial, base=plan.base, target=plan.target, metric=plan.metric, folder=book.url),
        config=plan.config,
        metric=plan.metric,
        mode=plan.mode,
        book=book,
        suggestions=Suggestions(plan.config, plan.mode, book, own=plan.own, fault=plan.fault),
        scheduler=make_scheduler(plan.config, plan.mode, plan.longest, book.records),
        concurrency=plan.config.concurrency or 1,
        storage=f"{plan.base.run.path}/tune",
        say=said.append,
        explain=reason,
    )
    return said


def test_rerankers_are_trained_side_by_side_stopped_early_and_retried(
    recipe_path: str, tmp_path: Path
) -> None:
    space = {
        "reranker.learning_rate": {"choice": [0.01, 1e-6]},
        "reranker.max_passage_tokens": {"choice": [16, TOO_LONG]},
    }
    plan = plan_in(tmp_path, recipe_path, space=space, search="grid", metric="loss", grace=1, concurrency=2)
    book = TrialBook(plan.base.run, plan.artifact.path)
    said = run(plan, book)
    of = {tuple(record.values.values()): record for record in book.records}
    assert list(of) == [(0.01, 16), (0.01, TOO_LONG), (1e-6, 16), (1e-6, TOO_LONG)]
    starts = [line for line in said if ": starts (" in line]
    assert said[:2] == starts[:2]  # the second trial does not wait for the first one

    own, slow = of[0.01, 16], of[1e-6, 16]
    assert own.number == 0
    assert own.state == "finished"
    assert [point.epochs for point in own.points] == [0, 1, 2, 3]
    assert own.score == own.points[-1].value
    assert own.score is not None
    assert own.score < (own.points[0].value or 0)
    assert {"hits@1", "hits@3", "hits@10", "ndcg", "loss"} <= own.points[1].metrics.keys()
    assert slow.state in ("stopped", "finished")  # asha stops it, unless it is the first to come so far
    for failed in (of[0.01, TOO_LONG], of[1e-6, TOO_LONG]):
        assert (failed.state, failed.failures) == ("failed", 2)  # it was tried once more
        assert (failed.reason or "").startswith(
            "field reranker.max_passage_tokens: max_passage_tokens ask for"
        )

    best = best_of(book.records, plan.mode)
    assert best == own
    target = trained_step(plan.pipeline(own.values), plan.target).artifact
    adopt(target, book.url_of(own.number))
    assert target.verify().counts["evaluations"][-1]["loss"] == own.score
    assert load_reranker(target.at(RERANKER_FOLDER)).architecture == "late_interaction"


class HurriedBook(TrialBook):
    """Its time is over as soon as a trial has reported something."""

    @property
    def seconds(self) -> float:
        return 3600.0 if any(record.points for record in self.records) else 0.0


def reports_slowly(config: dict[str, Any]) -> dict[str, Any]:
    for epoch in range(100):
        tune.report({EPOCHS: float(epoch), VALUE: config[NUMBER], LAST: False})
        time.sleep(0.2)
    raise AssertionError("the sweep's minutes were over long ago")


def test_a_trial_that_runs_when_the_minutes_are_over_goes_on_in_the_next_call(
    recipe_path: str, tmp_path: Path
) -> None:
    space = {"reranker.epochs": {"choice": [2, 3]}}
    plan = plan_in(tmp_path, recipe_path, space=space, minutes=1, scheduler="none", concurrency=1)
    book = HurriedBook(plan.base.run, plan.artifact.path)
    run(plan, book, reports_slowly)
    (record,) = book.records
    assert record.state == "running"
    assert record.points
    known = TrialBook(plan.base.run, plan.artifact.path)
    following = Suggestions(plan.config, plan.mode, known, own=plan.own, fault=plan.fault).next()
    assert following is not None
    assert (following.number, following.values) == (record.number, record.values)
