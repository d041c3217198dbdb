from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from kard_ray import compare as module
from kard_ray.compare import compare, demand, missing_cells, print_grid, run_steps, tell
from kard_ray.grid import Cell, GridStep, grid_steps, make_cells
from kard_ray.recipe import Recipe, load_recipe
from kard_ray.runtime.artifacts import Artifact, Manifest, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.scheduling import Failure, Resources, Task


def grid(recipe_path: str, *overrides: str) -> tuple[Recipe, list[Cell]]:
    recipe = load_recipe(
        recipe_path, ["student.methods=[finetune, zero_shot]", "compare.seeds=[1, 2]", *overrides]
    )
    return recipe, make_cells(recipe, RunDirectory(f"memory://{uuid.uuid4().hex}"))


def step_of(recipe_path: str, label: str, *overrides: str) -> GridStep:
    _, cells = grid(recipe_path, *overrides)
    return next(step for step in grid_steps(cells) if step.step.label == label)


# -- what a step takes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "overrides", "gpus", "takes"),
    [
        ("train/finetune", [], 0, Resources(1)),
        ("train/finetune", ["student.workers=3", "student.cpus_per_worker=2"], 0, Resources(6)),
        ("train/finetune", ["student.workers=2", "student.gpus_per_worker=1"], 8, Resources(2, 2)),
        ("predict/finetune", [], 0, Resources(16)),
        (
            "predict/finetune",
            ["prediction.engine.cpu_cores=4", "prediction.engine.replicas=2"],
            0,
            Resources(8),
        ),
        ("predict/finetune", ["prediction.engine.replicas=2"], 8, Resources(2, 2)),
        ("predict/finetune", ["prediction.engine.tensor_parallel=4"], 8, Resources(4, 4)),
        ("predict/finetune", ["prediction.engine.device=cpu"], 8, Resources(16)),
        ("rationales", [], 0, None),
        ("silver", [], 8, None),
    ],
)
def test_a_step_takes_its_workers_or_its_engines_and_early_stages_take_all(
    recipe_path: str, label: str, overrides: list[str], gpus: float, takes: Resources | None
) -> None:
    assert demand(step_of(recipe_path, label, *overrides), node_cpus=16, gpus=gpus) == takes


# -- failures ----------------------------------------------------------------------------------------------------------


def task(name: str) -> Task:
    return Task(key=name, name=name, work=lambda: None)


def test_a_failure_is_told_once_with_all_that_was_not_made_because_of_it() -> None:
    a, b, c, d, e = map(task, "abcde")
    failures = [
        Failure(a, UserError("the file is gone.")), Failure(b, None, a), Failure(c, None, a),
        Failure(d, KeyError("x")), Failure(e, SystemExit(15)),
    ]  # fmt: skip
    assert tell(failures) == [
        "a: the file is gone.",
        "not made, because they need a: b; c.",
        "d: a fault of the program, KeyError: 'x'; see above.",
        "e: it was ended from outside; run the same command again: what was finished is kept.",
    ]
    assert tell([]) == []


def test_a_missing_cell_names_the_step_that_failed(recipe_path: str) -> None:
    _, cells = grid(recipe_path, "student.methods=[finetune]")
    steps = {(step.step.stage, step.cells[0].seed): step for step in grid_steps(cells)}
    train, predict = (
        Task(key=steps[stage, 2].path, name=stage, work=lambda: None) for stage in ("train", "predict")
    )
    failures = [Failure(train, UserError("no memory.")), Failure(predict, None, train)]
    assert missing_cells(cells, cells[:1], failures) == [
        {"cell": cells[1].name, "reason": "train: no memory."},
    ]
    assert missing_cells(cells, cells, failures) == []
    shared = Task(key="silver", name="silver", work=lambda: None)
    failures = [
        Failure(shared, UserError("x.")),
        Failure(train, None, shared),
        Failure(predict, None, shared),
    ]
    assert missing_cells(cells, cells[:1], failures)[0]["reason"] == "silver failed."


def fakes(steps: list[GridStep], failing: str = "") -> list[str]:
    """Steps that only seal an artifact; returns a list that fills with their names as they are made."""
    made: list[str] = []

    def fake(name: str) -> Any:
        def make(artifact: Artifact) -> Manifest:
            made.append(name)
            if failing and failing in name:
                raise UserError(f"{name} cannot be made.")
            return artifact.seal(rows={"rows": 1}, counts={"train": 12, "dev": 0, "test": 5})

        return make

    for step in steps:
        object.__setattr__(step.step, "make", fake(step.name))
        object.__setattr__(step.step, "needs_ray", False)
    return made


def test_every_step_is_made_once_and_a_failed_one_ends_only_its_own_student(recipe_path: str) -> None:
    recipe, cells = grid(recipe_path)
    steps = grid_steps(cells)
    made = fakes(steps, failing="train/finetune (smollm2-135m-instruct, seed 2)")
    failures = run_steps(steps, recipe)
    assert len(made) == len(set(made)) == len(steps) - 1
    assert [f.task.name for f in failures] == [
        "train/finetune (smollm2-135m-instruct, seed 2)", "predict/finetune (smollm2-135m-instruct, seed 2)",
    ]  # fmt: skip
    again = [step for step in grid_steps(cells) if not step.step.finished]
    assert [step.name for step in again] == [f.task.name for f in failures]
    made = fakes(again)
    assert run_steps(again, recipe) == []
    assert made == [f.task.name for f in failures]


@pytest.mark.parametrize("fails", [False, True])
def test_lora_students_answer_together_before_their_own_steps_and_alone_if_that_fails(
    recipe_path: str, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    recipe, cells = grid(recipe_path, "student.lora_rank=4")
    steps = grid_steps(cells)
    made = fakes(steps)

    def together(asked: list[GridStep]) -> None:
        made.append(f"together {len(asked)}")
        if fails:
            raise UserError("no engine.")

    monkeypatch.setattr(module, "_predict_together", together)
    failures = run_steps(steps, recipe)
    assert [f.task.name for f in failures] == (["predictions of 2 students of one model"] if fails else [])
    at = made.index("together 2")
    assert {name.split(" ")[0] for name in made[at + 1 :]} >= {"predict/finetune"}
    assert not any("predict/finetune" in name for name in made[:at])
    assert len(made) == len(steps) + 1


def test_the_longest_training_starts_first(recipe_path: str) -> None:
    students = "compare.students={a: {}, b: {student.epochs: 9}}"
    recipe, cells = grid(
        recipe_path, "student.methods=[finetune, std_cot, kard]", students, "questions.train=12"
    )
    steps = grid_steps(cells)
    made = fakes(steps)
    assert run_steps(steps, recipe) == []
    assert sorted(made) == sorted(step.name for step in steps)
    trained = [name for name in made if name.startswith("train/")]
    assert trained[:2] == ["train/kard (b, seed 1)", "train/kard (b, seed 2)"]
    assert trained[-2:] == ["train/finetune (a, seed 1)", "train/finetune (a, seed 2)"]
    assert made.index(trained[0]) > max(made.index(name) for name in ("benchmark", "silver"))


def test_who_else_shares_an_engine(recipe_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        module, "_predict_together", lambda steps: asked.append([step.step.label for step in steps])
    )
    recipe, cells = grid(  # the same two trained students, asked in two ways, and other models
        recipe_path, "compare.students={a: {}, b: {prediction.query: question}, c: {student.layers: 1}}"
    )
    steps = grid_steps(cells)
    fakes(steps)
    assert run_steps(steps, recipe) == []
    assert sorted(asked) == [["predict/finetune"] * 2] * 2 + [["predict/zero_shot"] * 2]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_dry_run_shows_students_steps_and_states_and_writes_nothing(
    recipe_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    overrides = ["student.methods=[finetune]", "compare.seeds=[1, 2]"]
    compare(recipe_path, run_dir=str(run), overrides=overrides, dry_run=True)
    printed = capsys.readouterr().out
    assert "recipe tiny: 2 students" in printed
    assert "finetune, smollm2-135m-instruct, seed 2" in printed
    assert "run: not made yet" in printed
    assert "estimated time" in printed
    assert not run.exists()


def test_the_dry_run_names_finished_steps_and_missing_data(
    recipe_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, cells = grid(recipe_path)
    steps = grid_steps(cells)
    fakes(steps)
    run_steps(steps[:1], recipe)
    capsys.readouterr()
    (tmp_path / "corpus.jsonl").unlink()
    print_grid(recipe, make_cells(recipe, cells[0].pipeline.run))
    printed = capsys.readouterr().out
    assert "its data is not here yet" in printed
    assert "not ready: knowledge.corpus" in printed


def test_a_missing_model_of_any_student_is_told_before_anything_is_made(
    recipe_path: str, tmp_path: Path
) -> None:
    overrides = ["student.methods=[finetune]", "compare.students={a: {}, b: {student.model: 'bundled:none'}}"]
    with pytest.raises(UserError, match=r"^recipe field student\.model: .*bundled:none"):
        compare(recipe_path, run_dir=str(tmp_path / "run"), overrides=overrides)
    assert not (tmp_path / "run" / "benchmark").exists()
