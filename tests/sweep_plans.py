"""Checked sweeps of a small recipe, for tests of what becomes of them."""

from __future__ import annotations

import uuid
from typing import Any

import yaml

from kard_ray.recipe import Recipe, load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.sweep_plan import Plan, make_plan

RATE = {"log_uniform": [1e-5, 1e-3]}


def recipe_with(recipe_path: str, sweep: dict[str, Any] | None, *overrides: str) -> Recipe:
    changes = [
        *overrides,
        *([f"sweep={yaml.safe_dump(sweep, default_flow_style=True, sort_keys=False)}"] if sweep else []),
    ]
    return load_recipe(recipe_path, changes)


def student_recipe(recipe_path: str, space: dict[str, Any], *overrides: str, **sweep: Any) -> Recipe:
    group = {"target": "kard", "space": space} | sweep
    held_out = [] if any("held_out" in override for override in overrides) else ["student.held_out=0.2"]
    return recipe_with(recipe_path, group, *held_out, *overrides)


def plan_of(recipe: Recipe) -> Plan:
    return make_plan(recipe, RunDirectory(f"memory://{uuid.uuid4().hex}"))
