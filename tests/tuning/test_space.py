from __future__ import annotations

import pytest

from kard_ray.recipe import Recipe, load_recipe
from kard_ray.tuning.config import Distribution, SweepConfig
from kard_ray.tuning.space import combinations, count_values, fields_of, own_values, refused_fields

ANY = Distribution(choice=(1, 2))


@pytest.fixture
def recipe(recipe_path: str) -> Recipe:
    return load_recipe(recipe_path)


def refused(recipe: Recipe, *fields: str) -> dict[str, str]:
    sweep = SweepConfig(target="kard", space=dict.fromkeys(fields, ANY))
    return refused_fields(sweep, recipe)


def test_every_field_has_a_dotted_name(recipe: Recipe) -> None:
    fields = fields_of(recipe)
    assert fields["student.learning_rate"] == recipe.student.learning_rate
    assert fields["curriculum.schedule.shape"] == recipe.curriculum.schedule.shape
    assert "student" not in fields
    assert own_values({"student.epochs": ANY}, recipe) == {"student.epochs": 3.0}


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("student.learningrate", "there is no such field; did you mean student.learning_rate?"),
        ("learning_rate", "there is no such field; did you mean student.learning_rate?"),
        ("student.schedule.stages", "there is no such field; did you mean curriculum.schedule.stages"),
        ("student.xyzzy", "there is no such field; fields of student and curriculum can be varied."),
        (
            "teacher.samples",
            "trials of kard share what is made before them, so only fields of student and curriculum",
        ),
        ("student.seed", "trials cannot differ in it: all trials are measured on the same questions."),
        ("student.workers", "trials cannot differ in it: how many trials run side by side follows from it."),
        ("student.tracking", "its value is a list or a group of fields, and trials vary single values."),
    ],
)
def test_a_field_that_cannot_be_varied_is_refused_with_the_reason(
    recipe: Recipe, field: str, told: str
) -> None:
    assert refused(recipe, "student.epochs", field)[field].startswith(told)
    assert list(refused(recipe, "student.epochs", field)) == [field]


def test_combinations_of_fields() -> None:
    space = {
        "a": Distribution(choice=(1, 2)),
        "b": Distribution(integers=(1, 3)),
        "c": Distribution(uniform=(0, 1)),
    }
    assert count_values(space, ["a", "b"]) == 6
    assert count_values(space, ["a", "c"]) is None
    assert count_values(space, []) == 1
    found = list(combinations(space, ["a", "b"]))
    assert found[0] == {"a": 1, "b": 1}
    assert found[1] == {"a": 1, "b": 2}
    assert len(found) == 6
