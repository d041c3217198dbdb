from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import ray

from kard_ray.recipe import Recipe, load_recipe
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.sweep import is_over, reason, sweep
from kard_ray.sweep_plan import Plan, make_plan
from kard_ray.sweep_report import best_recipe, write_sweep
from kard_ray.sweep_trial import adopt, outcome, run_trial, trained_step
from kard_ray.tuning.reports import final_result
from kard_ray.tuning.run import OWN, VALUES
from kard_ray.tuning.schedulers import NUMBER
from kard_ray.tuning.trials import Point, TrialBook, TrialRecord
from tests.sweep_plans import RATE, plan_of, recipe_with, student_recipe


def mistakes(recipe: Recipe) -> list[str]:
    with pytest.raises(UserError) as caught:
        plan_of(recipe)
    return str(caught.value).splitlines()


SHIPPED = sorted(Path("jobs/recipes").glob("sweep_*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_sweeps_that_come_with_the_package_are_right(path: Path) -> None:
    plan = plan_of(load_recipe(str(path)))
    assert plan.config.space
    assert plan.demand == (1, 0)


# -- what is refused before any work --


def test_a_recipe_without_a_sweep_is_told_so(recipe_path: str) -> None:
    told = "recipe tiny, field sweep: it is missing; name at least sweep.target and sweep.space."
    assert mistakes(load_recipe(recipe_path)) == [told]


def test_every_mistake_of_a_space_is_told_at_once(recipe_path: str) -> None:
    space = {
        "student.learningrate": RATE,
        "teacher.samples": {"choice": [1, 2]},
        "student.seed": {"choice": [1, 2]},
        "student.batch_size": {"uniform": [8, 64]},
        "student.epochs": {"choice": [1, "many", -1]},
        "curriculum.schedule.shape": {"choice": ["linear", "sideways"]},
        "student.rationales": {"integers": [1, 4]},
    }
    lines = mistakes(student_recipe(recipe_path, space))
    assert lines[0] == (
        "recipe tiny, field sweep.space.student.learningrate: there is no such field; did you mean "
        "student.learning_rate?"
    )
    told = [line.partition("sweep.space.")[2] for line in lines]
    assert told[1].startswith("teacher.samples: trials of kard share what is made before them")
    assert told[2].startswith("student.seed: trials cannot differ in it")
    assert told[3].startswith(
        "student.batch_size, field student.batch_size: got 29.39, but input should be a valid int"
    )
    assert told[4].startswith("student.epochs, field student.epochs: got 'many', but")
    assert told[5].startswith("student.epochs, field student.epochs: got -1")
    assert told[6].startswith(
        "curriculum.schedule.shape, field curriculum.schedule.shape: got 'sideways', but"
    )
    assert len(lines) == 7


def test_every_field_that_both_papers_vary_can_be_varied(recipe_path: str) -> None:
    reranker = {
        "reranker.learning_rate": RATE,
        "reranker.rationale_temperature": {"log_uniform": [1, 20]},  # τ1
        "reranker.question_temperature": {"log_uniform": [0.2, 4]},  # τ2
        "reranker.by_rationale": {"choice": [16, 32]},  # κ1
        "reranker.by_question": {"choice": [16, 32]},  # κ2
        "reranker.candidates_per_step": {"choice": [4, 8]},
        "reranker.lora_rank": {"choice": [0, 16]},
        "reranker.architecture": {"choice": ["late_interaction", "bi_encoder", "cross_encoder"]},  # pooling
        "reranker.normalised": {"choice": [True, False]},
    }
    assert len(plan_of(recipe_with(recipe_path, {"space": reranker}, "reranker={}")).own) == len(reranker)
    student = {
        "student.learning_rate": RATE,
        "student.epochs": {"choice": [4, 8]},
        "student.passages": {"integers": [1, 5]},  # k
        "student.rationales": {"integers": [1, 5]},  # l
        "student.lora_rank": {"choice": [0, 32]},
        "student.warmup_fraction": {"uniform": [0, 0.2]},
        "student.micro_batch_tokens": {"choice": [2048, 8192]},  # packing length
        "curriculum.schedule.shape": {"choice": ["linear", "exp"]},
        "curriculum.schedule.stages": {"choice": [3, 4]},  # T
    }
    recipe = student_recipe(recipe_path, student, "student.methods=[skintern]", target="skintern")
    assert len(plan_of(recipe).own) == len(student)


def test_only_what_is_trained_can_be_swept(recipe_path: str) -> None:
    methods = "student.methods=[kard, zero_shot]"
    (line,) = mistakes(
        student_recipe(recipe_path, {"student.epochs": {"choice": [1, 2]}}, methods, target="std_cot")
    )
    assert line == "recipe tiny, field sweep.target: got 'std_cot', expected one of reranker, kard."
    (line,) = mistakes(
        student_recipe(recipe_path, {"student.passages": {"choice": [1]}}, methods, target="zero_shot")
    )
    assert line.endswith("expected one of reranker, kard.")
    (line,) = mistakes(recipe_with(recipe_path, {"space": {"reranker.learning_rate": RATE}}))
    assert line.startswith("recipe tiny, field reranker: it is missing, and the sweep's target is reranker;")


def test_students_are_compared_by_what_held_out_questions_measure(recipe_path: str) -> None:
    space = {"student.learning_rate": RATE}
    (line,) = mistakes(student_recipe(recipe_path, space, "student.held_out=0"))
    assert line.startswith(
        "recipe tiny, field student.held_out: it is 0, but trials are compared on held-out"
    )
    (line,) = mistakes(student_recipe(recipe_path, space, metric="accuracy"))
    assert line.endswith("measure the loss; set student.best to accuracy.")
    accuracy = plan_of(student_recipe(recipe_path, space, "student.best=accuracy"))
    assert (accuracy.metric, accuracy.mode) == ("accuracy", "max")
    loss = plan_of(student_recipe(recipe_path, space))
    assert (loss.metric, loss.mode) == ("loss", "min")


def test_rerankers_are_not_compared_by_a_loss_that_is_another_one_in_each_trial(recipe_path: str) -> None:
    space = {"reranker.question_temperature": {"uniform": [0.5, 2]}, "reranker.learning_rate": RATE}
    (line,) = mistakes(recipe_with(recipe_path, {"space": space, "metric": "loss"}, "reranker={}"))
    assert line.endswith(
        "got loss, which is another measure with other values of reranker.question_temperature; compare trials by "
        "hits@1 or ndcg."
    )
    plan = plan_of(recipe_with(recipe_path, {"space": space}, "reranker={}"))
    assert (plan.metric, plan.mode) == ("hits@1", "max")


def test_a_grid_needs_single_values_and_grace_must_end_before_trainings_do(recipe_path: str) -> None:
    lines = mistakes(student_recipe(recipe_path, {"student.learning_rate": RATE}, search="grid", grace=3))
    told = "a grid needs single values; give a choice, or a step between them."
    assert lines == [f"recipe tiny, field sweep.space.student.learning_rate: {told}"]
    space = {"student.epochs": {"choice": [1, 2]}, "student.learning_rate": RATE}
    (line,) = mistakes(student_recipe(recipe_path, space, grace=3))
    assert line == (
        "recipe tiny, field sweep.grace: got 3, but no training has more than 3 epochs, so none could be stopped "
        "early; lower it, or set sweep.scheduler to none."
    )
    assert (
        plan_of(student_recipe(recipe_path, space | {"student.epochs": {"choice": [1, 8]}}, grace=3)).longest
        == 8
    )


# -- identity --


def test_more_trials_are_the_same_sweep_another_recipe_or_space_is_not(recipe_path: str) -> None:
    run = RunDirectory(f"memory://{uuid.uuid4().hex}")

    def path(*overrides: str, rate: Any = RATE, **sweep: Any) -> str:
        recipe = student_recipe(recipe_path, {"student.learning_rate": rate}, *overrides, **sweep)
        return make_plan(recipe, run).artifact.path

    own = path()
    assert path(trials=50, concurrency=2, minutes=9) == own
    assert path("student.batch_size=4") != own
    assert path(rate={"log_uniform": [1e-5, 1e-2]}) != own
    assert path(scheduler="none") != own
    assert path("student.workers=4") == own


def test_each_trial_takes_the_workers_of_its_training(recipe_path: str) -> None:
    space = {"student.learning_rate": RATE}
    fields = ["student.workers=2", "student.cpus_per_worker=3", "student.gpus_per_worker=1"]
    assert plan_of(student_recipe(recipe_path, space, *fields)).demand == (6, 2)
    plan = plan_of(
        recipe_with(recipe_path, {"space": {"reranker.learning_rate": RATE}}, "reranker={workers: 2}")
    )
    assert plan.demand == (2, 0)


# -- a trial --


def manifest_with(**counts: Any) -> Manifest:
    run = RunDirectory(f"memory://{uuid.uuid4().hex}")
    return run.artifact(ArtifactSpec(stage="train", version=1, config={})).seal(rows={}, counts=counts)


def test_a_student_counts_with_the_checkpoint_that_it_became(recipe_path: str) -> None:
    held = {"measure": "loss", "values": [[2, 0.9], [4, 0.5], [6, 0.7]]}
    manifest = manifest_with(held_out=held, steps=6)
    for best, score in (("last", 0.7), ("loss", 0.5)):
        recipe = student_recipe(recipe_path, {"student.learning_rate": RATE}, f"student.best={best}")
        plan = plan_of(recipe)
        curve, found = outcome(manifest, recipe, plan.target, plan.metric)
        assert curve == [(1.0, 0.9), (2.0, 0.5), (3.0, 0.7)]
        assert found == score


def test_a_reranker_counts_with_its_last_evaluation(recipe_path: str) -> None:
    looks = [
        {"step": step, "hits@1": hits, "ndcg": 0.1, "loss": 1.0}
        for step, hits in ((0, 0.2), (5, 0.6), (10, 0.5))
    ]
    recipe = recipe_with(recipe_path, {"space": {"reranker.learning_rate": RATE}}, "reranker={epochs: 2}")
    plan = plan_of(recipe)
    found = outcome(manifest_with(evaluations=looks, steps=10), recipe, plan.target, plan.metric)
    assert found == ([(0.0, 0.2), (1.0, 0.6), (2.0, 0.5)], 0.5)


def finished(artifact: Artifact) -> Artifact:
    """``artifact`` as a training leaves it."""
    artifact.write_text("model/weights", "x")
    held = {"measure": "loss", "values": [[1, 0.9], [2, 0.4]]}
    artifact.seal(rows={"examples": 1}, counts={"held_out": held, "steps": 2})
    return artifact


def test_a_trial_that_was_trained_before_is_not_trained_again(recipe_path: str) -> None:
    plan = plan_of(student_recipe(recipe_path, {"student.epochs": {"choice": [2, 4]}}))
    values = {"student.epochs": 4.0}
    book = TrialBook(plan.base.run, plan.artifact.path)
    spec = trained_step(plan.pipeline(values), plan.target).artifact.spec
    finished(RunDirectory(book.url_of(7)).artifact(spec))
    config = {NUMBER: 7, VALUES: values, OWN: False}
    found = run_trial(config, base=plan.base, target=plan.target, metric=plan.metric, folder=book.url)
    assert found == final_result([(2.0, 0.9), (4.0, 0.4)], 0.4, 4.0)


def test_the_best_model_goes_where_its_recipe_looks_for_it(recipe_path: str) -> None:
    plan = plan_of(student_recipe(recipe_path, {"student.epochs": {"choice": [2, 4]}}))
    book = TrialBook(plan.base.run, plan.artifact.path)
    mine = trained_step(plan.pipeline({"student.epochs": 4.0}), plan.target).artifact
    finished(RunDirectory(book.url_of(3)).artifact(mine.spec))
    mine.write_text("_parts/half", "an unfinished training")
    adopt(mine, book.url_of(3))
    assert mine.verify().files == {"model/weights": 1}
    assert not mine.run.fs.exists(mine.at("_parts"))
    adopt(mine, book.url_of(3))  # once more
    assert mine.read_text("model/weights") == "x"


def test_a_model_whose_move_was_killed_arrives_with_the_next_call(
    recipe_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(student_recipe(recipe_path, {"student.epochs": {"choice": [2, 4]}}))
    book = TrialBook(plan.base.run, plan.artifact.path)
    mine = trained_step(plan.pipeline({"student.epochs": 4.0}), plan.target).artifact
    theirs = RunDirectory(book.url_of(3)).artifact(mine.spec)
    theirs.write_text("curve", "y")
    finished(theirs)
    move = mine.run.fs.mv
    for _ in theirs.manifest().files:  # killed behind each of them, the second time before the manifest
        moved: list[str] = []

        def moves_one(source: str, target: str, moved: list[str] = moved) -> None:
            if moved:
                raise KeyboardInterrupt
            moved.append(target)
            move(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(mine.run.fs, "mv", moves_one)
            with pytest.raises(KeyboardInterrupt):
                adopt(mine, book.url_of(3))
        assert not mine.finished
    adopt(mine, book.url_of(3))
    assert mine.verify().files == {"curve": 1, "model/weights": 1}


# -- what is left behind --


def ended(plan: Plan) -> TrialBook:
    book = TrialBook(plan.base.run, plan.artifact.path)
    for number, (epochs, state, score) in enumerate(
        [(3.0, "finished", 0.5), (8.0, "finished", 0.3), (1.0, "stopped", 0.1)]
    ):
        point = Point(epochs=1, value=score)
        values = {"student.epochs": epochs, "curriculum.schedule.stages": 2}
        book.write(
            TrialRecord.model_validate(
                {"number": number, "values": values, "state": state, "score": score, "points": (point,)}
            )
        )
    return book


@pytest.fixture
def plan(recipe_path: str, monkeypatch: pytest.MonkeyPatch) -> Plan:
    space = {"student.epochs": {"choice": [1, 8]}, "curriculum.schedule.stages": {"choice": [2, 3]}}
    made = plan_of(student_recipe(recipe_path, space, "student.methods=[kard, finetune]"))
    monkeypatch.setattr(made.base, "reads", lambda: {"knowledge_base_tag": "v1"})
    return made


def test_the_best_recipe_is_the_recipe_with_other_values_and_no_sweep(plan: Plan, tmp_path: Path) -> None:
    book = ended(plan)
    text = best_recipe(plan, book[1])
    path = tmp_path / "best.yaml"
    path.write_text(text)
    assert text.startswith(
        "# Recipe tiny with the best values that a sweep of kard found, those of trial\n# 1: loss 0.3"
    )
    found = load_recipe(str(path))
    assert found.sweep is None
    assert found.student.epochs == 8
    assert found.curriculum.schedule.stages == 2
    own = plan.recipe.model_dump() | {"sweep": None}
    own["student"]["epochs"] = 8.0
    own["curriculum"]["schedule"]["stages"] = 2
    assert found.model_dump() == own


def test_results_lie_under_names_that_do_not_change(plan: Plan) -> None:
    run = plan.base.run
    results = write_sweep(plan, plan.artifact, ended(plan), command="kard-ray sweep tiny.yaml")
    assert results["best"] == 1
    folder = f"{run.path}/sweep/kard"
    names = {path.rpartition("/")[2] for path in run.fs.ls(folder, detail=False)}
    assert names >= {"best.yaml", "report.html", "results.md", "trials.json", "trials.parquet"}
    manifest = plan.artifact.verify()
    assert manifest.reads == {"knowledge_base_tag": "v1"}
    assert manifest.counts["finished"] == 2


def test_a_sweep_is_over_until_its_budget_changes_or_something_failed(plan: Plan) -> None:
    book = ended(plan)
    assert not is_over(plan, plan.artifact, book)
    write_sweep(plan, plan.artifact, book, command="")
    assert is_over(plan, plan.artifact, book)
    more = plan.recipe.model_copy(update={"sweep": plan.config.model_copy(update={"trials": 99})})
    assert not is_over(make_plan(more, plan.base.run), plan.artifact, book)
    book.write(book[0].model_copy(update={"state": "failed"}))
    assert not is_over(plan, plan.artifact, book)


def test_a_reason_is_a_sentence_of_the_user_or_the_last_line_of_a_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert reason(UserError("the disk is full.")) == "the disk is full."
    assert capsys.readouterr().err == ""
    assert reason(ValueError("first\nlast")) == "a fault of the program: last; its traceback is above."
    assert "ValueError" in capsys.readouterr().err
    died = reason(ray.exceptions.ActorDiedError())
    assert died.startswith("a worker died without an error of its own")
    assert "lower sweep.concurrency" in died


def test_the_dry_run_writes_nothing(
    recipe_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = "{target: kard, space: {student.learning_rate: {log_uniform: [1.0e-5, 1.0e-3]}}, minutes: 30}"
    run = tmp_path / "run"
    sweep(recipe_path, run_dir=str(run), overrides=[f"sweep={space}", "student.held_out=0.2"], dry_run=True)
    told = capsys.readouterr().out
    assert "1e-05 to 0.001, logarithmic" in told
    assert "silver: not made yet" in told
    assert "budget: at most 20 trials, 30 minutes; a trial takes 1 CPUs" in told
    assert not run.exists()
