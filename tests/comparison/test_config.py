from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kard_ray.comparison.config import CompareConfig
from kard_ray.recipe import load_recipe
from kard_ray.runtime.errors import UserError


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seeds": [1, 1]}, "a seed stands there twice"),
        ({"methods": {"kard": {"seeds": [2, 2]}}}, "a seed stands there twice"),
        ({"methods": {"kard": {"seeds": []}}}, "at least 1 item"),
        ({"methods": {"kart": {}}}, "Input should be"),
        ({"students": {"a b": {}}}, "'a b' is no name for a student"),
        ({"students": {"": {}}}, "'' is no name for a student"),
        ({"students": {"a": {"epochs": 1}}}, "'epochs' is no field of student, curriculum, prediction"),
        ({"students": {"a": {"student": {}}}}, "'student' is no field"),
        ({"students": {"a": {"teacher.samples": 1}}}, "'teacher.samples' is no field"),
        ({"students": {"a": {"student.methods": []}}}, "student.methods cannot be changed here"),
        ({"students": {"a": {"student.seed": 1}}}, r"seeds of a comparison are those of compare\.seeds"),
        ({"methods": {"kard": {"overrides": {"prediction.split": "dev"}}}}, "answer the same questions"),
        ({"pairs": [["a/kard/bm25", "a/kard/bm25"]]}, "cannot be compared with itself"),
        ({"pairs": [["a/kard/bm25"]]}, "Field required"),
        ({"groups": {"facts": []}}, "group 'facts' has no kind of question"),
        ({"groups": {"a|b": ["x"]}}, r"'a\|b' is no name for a group"),
        ({"examples": -1}, "greater than or equal to 0"),
        ({"seed": [1]}, "Extra inputs"),
    ],
)
def test_a_mistake_is_refused_with_its_reason(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        CompareConfig.model_validate(fields)


def test_the_group_is_part_of_recipes_and_its_mistakes_name_the_field(recipe_path: str) -> None:
    assert load_recipe(recipe_path, ["compare.seeds=[1, 2]"]).compare.seeds == (1, 2)
    with pytest.raises(UserError, match=r"field compare\.students: got .*'x\.y' is no field of"):
        load_recipe(recipe_path, ["compare.students={a: {x.y: 1}}"])
