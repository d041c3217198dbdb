from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import pytest

from kard_ray.grid import CELL_STAGES, Cell, default_student, grid_steps, make_cells
from kard_ray.pipeline import STAGES
from kard_ray.recipe import Recipe, load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError


def recipe_of(recipe_path: str, compare: dict[str, Any], *overrides: str) -> Recipe:
    recipe = load_recipe(recipe_path, overrides)
    return Recipe.model_validate(recipe.model_dump(mode="json") | {"compare": compare})


def cells_of(recipe_path: str, compare: dict[str, Any], *overrides: str) -> list[Cell]:
    methods = "student.methods=[finetune, mt_cot, kard, zero_shot]"
    return make_cells(
        recipe_of(recipe_path, compare, methods, *overrides), RunDirectory(f"memory://{uuid.uuid4().hex}")
    )


def named(cells: list[Cell]) -> list[tuple[str, str, int]]:
    return [(cell.student, cell.method, cell.seed) for cell in cells]


def test_a_grid_is_students_times_methods_times_seeds(recipe_path: str) -> None:
    compare = {
        "seeds": [1, 2],
        "students": {"a": {}, "b": {"student.lora_rank": 4}},
        "methods": {"mt_cot": {"seeds": [7]}},
    }
    assert named(cells_of(recipe_path, compare)) == [
        (student, method, seed)
        for student in "ab"
        for method, seed in (
            ("finetune", 1), ("finetune", 2), ("mt_cot", 7), ("kard", 1), ("kard", 2), ("zero_shot", 1),
        )
    ]  # fmt: skip


def test_without_the_group_compare_the_grid_is_the_recipe_itself(recipe_path: str) -> None:
    cells = cells_of(recipe_path, {}, "student.seed=5")
    assert named(cells) == [
        ("smollm2-135m-instruct", method, 5) for method in ("finetune", "mt_cot", "kard", "zero_shot")
    ]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("bundled:smollm2-135m-instruct", "smollm2-135m-instruct"), ("/models/llama/", "llama"),
        ("HuggingFaceTB/SmolLM2-135M", "SmolLM2-135M"),
    ],
)  # fmt: skip
def test_a_student_without_a_name_is_called_after_its_model(recipe_path: str, model: str, name: str) -> None:
    assert default_student(load_recipe(recipe_path, [f"student.model={model}"])) == name


def test_a_cell_is_the_recipe_with_its_own_fields(recipe_path: str) -> None:
    compare = {
        "seeds": [3],
        "students": {"a": {"student.epochs": 2, "student.learning_rate": 0.01}},
        "methods": {"kard": {"overrides": {"student.epochs": 9, "prediction.sampling.max_tokens": 7}}},
    }
    cells = {cell.method: cell.pipeline.recipe for cell in cells_of(recipe_path, compare)}
    base = load_recipe(recipe_path)
    assert (cells["kard"].student.epochs, cells["finetune"].student.epochs) == (9, 2)
    assert cells["kard"].prediction.sampling.max_tokens == 7
    assert cells["finetune"].prediction == base.prediction
    for method, recipe in cells.items():
        assert recipe.student.learning_rate == 0.01
        assert recipe.student.seed == 3
        assert recipe.student.methods == (method,)
        assert (recipe.teacher, recipe.silver, recipe.knowledge) == (
            base.teacher,
            base.silver,
            base.knowledge,
        )


def test_cells_share_every_artifact_that_they_have_in_common(recipe_path: str) -> None:
    compare = {"seeds": [1, 2], "students": {"a": {}, "b": {"student.epochs": 9}}}
    cells = cells_of(recipe_path, compare)
    steps = grid_steps(cells)
    assert len({step.path for step in steps}) == len(steps)
    count = {
        stage: sum(step.step.stage == stage for step in steps)
        for stage in {step.step.stage for step in steps}
    }
    for stage in ("benchmark", "knowledge", "contamination", "rationales", "silver"):
        assert count[stage] == 1
    assert count["train"] == 2 * 3 * 2
    # A prompted baseline does not know how long students were trained: it is the same for both.
    assert count["predict"] == 2 * 3 * 2 + 1


def test_prediction_fields_alone_make_no_other_student(recipe_path: str) -> None:
    compare = {"students": {"a": {}, "b": {"prediction.sampling.max_tokens": 9}}}
    steps = grid_steps(cells_of(recipe_path, compare))
    assert sum(step.step.stage == "train" for step in steps) == 3
    assert sum(step.step.stage == "predict" for step in steps) == 8


def test_the_steps_of_the_grid_are_those_of_the_run_so_that_nothing_is_made_twice(recipe_path: str) -> None:
    from kard_ray.pipeline import Pipeline

    cells = cells_of(recipe_path, {"seeds": [42, 43]})
    base = Pipeline(
        load_recipe(recipe_path, ["student.methods=[finetune, mt_cot, kard, zero_shot]"]),
        cells[0].pipeline.run,
    )
    assert {step.artifact.path for step in base.steps(CELL_STAGES)} <= {
        step.path for step in grid_steps(cells)
    }


@pytest.mark.parametrize("drop", [False, True])
def test_a_step_needs_what_it_is_made_from_and_stands_behind_it(recipe_path: str, drop: bool) -> None:
    steps = grid_steps(cells_of(recipe_path, {"seeds": [1, 2]}, f"contamination.drop={str(drop).lower()}"))
    at = {step.path: number for number, step in enumerate(steps)}
    by_label = {step.step.label: step for step in steps}
    for step in steps:
        assert all(at[need] < at[step.path] for need in step.needs), step.name
    needed = {steps[at[need]].step.label for need in by_label["predict/kard"].needs}
    assert {"train/kard", "silver", "knowledge", "benchmark"} <= needed
    for label, step in by_label.items():
        if label not in ("benchmark", "knowledge", "contamination"):
            assert (by_label["contamination"].path in step.needs) == drop


def test_rerankers_can_be_ablated_side_by_side(recipe_path: str) -> None:
    recipe = ("reranker={}", "prediction.sources=[bm25, reranker, silver]", "prediction.rounds=[1, 2]")
    only = {"prediction.sources": ["reranker"], "prediction.rounds": [1]}
    compare = {
        "students": {
            "kl": {},
            "cross_entropy": only | {"reranker.loss": "cross_entropy"},
            "depth-20": only | {"reranker.depth": 20},
            "one-passage": only | {"student.passages": 1},
        }
    }
    cells = cells_of(recipe_path, compare, *recipe, "student.methods=[finetune, kard]")
    steps = grid_steps(cells)
    made = Counter(step.step.label for step in steps)
    # Of all of them, though some are not asked with silver passages, for which test questions have rationales.
    assert made["rationales"] == made["silver"] == made["candidates"] == 1
    assert made["reranker"] == made["token_vectors"] == 2  # another loss
    assert made["train/kard"] == 2  # another number of passages to learn to read
    assert made["predict/kard"] == 4
    names = {step.name for step in steps}
    assert {"reranker (kl, depth-20, one-passage)", "reranker (cross_entropy)"} <= names
    (first,) = [cell for cell in cells if (cell.student, cell.method) == ("kl", "kard")]
    assert first.pipeline.sources("kard") == ["bm25", "bm25:2", "reranker", "reranker:2", "silver"]


def test_a_step_is_named_after_those_it_is_made_for(recipe_path: str) -> None:
    names = {
        step.name for step in grid_steps(cells_of(recipe_path, {"seeds": [1, 2], "students": {"a": {}}}))
    }
    assert {"rationales", "train/kard (a, seed 2)", "predict/zero_shot (a, seed 1)"} <= names


@pytest.mark.parametrize(
    ("compare", "sentence"),
    [
        (
            {"methods": {"cascod": {"seeds": [1]}}},
            r"field compare\.methods\.cascod: student\.methods has no such method \(finetune, mt_cot, kard,",
        ),
        ({"claims": ["kart"]}, r"field compare\.claims: got 'kart', expected names of methods"),
        (
            {"students": {"a": {"student.epoch": 1}}},
            r"^recipe tiny, compare\.students\.a, field student\.epoch: there is no such field[^\n]*$",
        ),
        (
            {"students": {"a": {"student.epochs": 0}}},
            r"^recipe tiny, compare\.students\.a, field student\.epochs: got 0, but[^\n]*$",
        ),
        (
            {"methods": {"kard": {"overrides": {"student.model.name": 1}}}},
            r"compare\.methods\.kard\.overrides, field student\.model\.name: model is not a group of fields",
        ),
    ],
)
def test_a_wrong_grid_is_told_in_a_sentence(recipe_path: str, compare: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        cells_of(recipe_path, compare)


def test_every_mistake_is_told_once(recipe_path: str) -> None:
    compare = {
        "students": {"a": {"student.epoch": 1}, "b": {"student.rank": 1}},
        "methods": {"kard": {"overrides": {"student.alfa": 1}}},
    }
    with pytest.raises(UserError) as caught:
        cells_of(recipe_path, compare)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines))
    assert {field for field in ("student.epoch:", "student.rank:", "student.alfa:") if field in str(caught.value)} == {
        "student.epoch:", "student.rank:", "student.alfa:",
    }  # fmt: skip


def test_all_stages_but_the_report_belong_to_cells() -> None:
    assert (*CELL_STAGES, "report") == STAGES


def test_pairs_may_name_every_row_and_no_other(recipe_path: str) -> None:
    students: dict[str, Any] = {"a": {}, "b": {"student.lora_rank": 4}}
    pairs = [["a/kard/bm25", "b/finetune/none"], ["b/kard/silver", "a/zero_shot/none"]]
    assert cells_of(recipe_path, {"students": students, "pairs": pairs})
    wrong = [["a/kard/bm25", "c/finetune/none"], ["a/kard/none", "c/finetune/none"]]
    with pytest.raises(UserError) as refused:
        cells_of(recipe_path, {"students": students, "pairs": wrong})
    first, second = str(refused.value).splitlines()
    assert (
        "field compare.pairs: got 'c/finetune/none', expected student/method/passages of two rows: a/"
        in first
    )
    assert "'a/kard/none'" in second
