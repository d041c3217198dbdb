"""What is made before the trials of a sweep, once for all of them."""

from __future__ import annotations

import pytest

from kard_ray.runtime.errors import UserError
from kard_ray.sweep_plan import Plan, check_sharing
from kard_ray.sweep_trial import steps_before
from kard_ray.tuning.space import Values
from tests.sweep_plans import RATE, plan_of, recipe_with, student_recipe


def labels(plan: Plan) -> list[str]:
    return [step.label for step in plan.shared_steps()]


def test_what_trials_are_made_from_is_made_once(recipe_path: str) -> None:
    space = {"student.learning_rate": RATE, "student.passages": {"integers": [1, 5]}}
    plan = plan_of(student_recipe(recipe_path, space, "student.methods=[kard, std_cot, finetune]"))
    assert labels(plan) == ["benchmark", "knowledge", "rationales", "silver"]
    assert plan.sharing == []
    check_sharing(plan)


def test_values_that_need_artifacts_of_their_own_have_them_made_before_the_trials(recipe_path: str) -> None:
    space = {
        "reranker.learning_rate": RATE,
        "reranker.by_rationale": {"choice": [8, 16]},
        "reranker.by_question": {"integers": [4, 12], "step": 4},
    }
    plan = plan_of(recipe_with(recipe_path, {"space": space}, "reranker={}"))
    assert sorted(plan.sharing) == ["reranker.by_question", "reranker.by_rationale"]
    check_sharing(plan)
    # Six of the space, and the recipe's own.
    assert labels(plan) == ["benchmark", "knowledge", "rationales", *["candidates"] * 7]
    for values in ({"reranker.by_rationale": 8, "reranker.by_question": 12}, {}):
        made = {step.artifact.path for step in plan.shared_steps()}
        assert {step.artifact.path for step in steps_before(plan.pipeline(values), plan.target)} <= made


def test_too_many_artifacts_before_the_trials_are_refused(recipe_path: str) -> None:
    space = {"reranker.by_rationale": {"integers": [8, 64]}, "reranker.by_question": {"integers": [8, 64]}}
    plan = plan_of(recipe_with(recipe_path, {"space": space}, "reranker={}"))
    with pytest.raises(UserError, match="these have 3,249 of combinations where 64 are allowed; give a cho"):
        check_sharing(plan)


def test_values_that_do_not_go_together_are_known(recipe_path: str) -> None:
    space = {
        "reranker.by_rationale": {"choice": [2, 32]},
        "reranker.candidates_per_step": {"choice": [4, 40]},
    }
    plan = plan_of(recipe_with(recipe_path, {"space": space}, "reranker={by_question: 8}"))
    assert plan.fault({"reranker.by_rationale": 32, "reranker.candidates_per_step": 40}) is None
    told = plan.fault({"reranker.by_rationale": 2, "reranker.candidates_per_step": 40})
    assert told is not None
    assert "candidates_per_step is 40, but there are at most" in told


def test_fields_that_matter_only_together_have_all_of_their_artifacts_made(recipe_path: str) -> None:
    # How many passages a question finds decides training rows only where a share of the rows reads them.
    space = {"student.found_share": {"choice": [0.0, 0.5]}, "student.passages": {"integers": [1, 3]}}
    plan = plan_of(student_recipe(recipe_path, space))
    assert plan.recipe.student.found_share == 0
    assert sorted(plan.sharing) == ["student.found_share", "student.passages"]
    assert labels(plan).count("question_passages") == 3
    assert_all_are_made(plan, {"student.found_share": 0.5, "student.passages": 1})


@pytest.mark.parametrize("sides", [(2, 8), (2, 3)])
def test_values_that_go_only_with_others_of_the_space_have_their_artifacts_made(
    recipe_path: str, sides: tuple[int, int]
) -> None:
    space = {
        "reranker.by_rationale": {"choice": list(sides)},
        "reranker.by_question": {"choice": list(sides)},
        "reranker.candidates_per_step": {"choice": [4, 8]},
    }
    plan = plan_of(recipe_with(recipe_path, {"space": space}, "reranker={by_rationale: 4, by_question: 4}"))
    assert sorted(plan.sharing) == ["reranker.by_question", "reranker.by_rationale"]
    values = {"reranker.by_rationale": 2, "reranker.by_question": 2, "reranker.candidates_per_step": 4}
    assert_all_are_made(plan, values)


def assert_all_are_made(plan: Plan, values: Values) -> None:
    assert plan.fault(values) is None
    made = {step.artifact.path for step in plan.shared_steps()}
    assert {step.artifact.path for step in steps_before(plan.pipeline(values), plan.target)} <= made
