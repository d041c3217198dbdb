from __future__ import annotations

import uuid

import pytest

from kard_ray.grid import Cell, make_cells
from kard_ray.new_questions import find_cell
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError


@pytest.fixture
def cells(recipe_path: str) -> list[Cell]:
    overrides = [
        "student.methods=[finetune, kard, zero_shot]",
        "compare.seeds=[1, 2]",
        "compare.students={small: {student.layers: 1}, whole: {}}",
        "compare.methods={kard: {seeds: [3], overrides: {student.epochs: 4}}}",
    ]
    return make_cells(load_recipe(recipe_path, overrides), RunDirectory(f"memory://{uuid.uuid4().hex}"))


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (("finetune",), "finetune, small, seed 1"),
        (("finetune", "whole"), "finetune, whole, seed 1"),
        (("finetune", None, 2), "finetune, small, seed 2"),
        (("finetune", "whole", 2), "finetune, whole, seed 2"),
        (("kard",), "kard, small, seed 3"),
        (("zero_shot", "whole"), "zero_shot, whole, seed 1"),
    ],
)
def test_a_student_of_a_comparison_is_the_first_that_is_asked_for(
    cells: list[Cell], asked: tuple[str, str | None, int | None], name: str
) -> None:
    found = find_cell(cells, "run", *asked)
    assert found.name == name
    if found.method == "kard":  # as it was trained in the comparison
        assert found.pipeline.recipe.student.epochs == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ("std_cot", None, None),
            "--method std_cot: the run r has students for finetune, kard, zero_shot; choose one.",
        ),
        (("kard", "tall", None), "--student tall: the run r has students for small, whole; choose one."),
        (("kard", None, 9), "--seed 9: the run r has students for 1, 2, 3; choose one."),
        (
            ("kard", "small", 1),
            "the run r has no such student; those of --method kard are: kard, small, seed 3; kard, whole, seed 3.",
        ),
    ],
)
def test_who_is_not_there_is_told_with_those_who_are(
    cells: list[Cell], asked: tuple[str, str | None, int | None], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        find_cell(cells, "r", *asked)
    assert str(caught.value) == message
