"""What a sweep leaves behind: its results, and the recipe with the best trial's values."""

from __future__ import annotations

import json
import posixpath
from typing import Any

import yaml

from kard_ray import __version__
from kard_ray.comparison_report import machine
from kard_ray.recipe import parse_recipe
from kard_ray.runtime.artifacts import Artifact
from kard_ray.sweep_plan import Plan
from kard_ray.tuning.config import scalar_text
from kard_ray.tuning.page import page
from kard_ray.tuning.results import make_results, trial_table
from kard_ray.tuning.tables import markdown, score_text
from kard_ray.tuning.trials import TrialBook, TrialRecord, best_of

RECIPE = "best.yaml"
FILES = ("trials.parquet", "trials.json", "results.md", "report.html", RECIPE)


def write_sweep(plan: Plan, artifact: Artifact, book: TrialBook, *, command: str) -> dict[str, Any]:
    """Write the results into ``artifact``, and copies of them beside it, whose names do not change; returns them."""
    run = artifact.run
    artifact.reads = plan.base.reads()
    results = {
        "recipe": plan.recipe.name,
        **make_results(plan.config, plan.metric, plan.mode, book, plan.own),
        "machine": machine(),
        "package_version": __version__,
        "command": command,
        "run_directory": run.root,
    }
    artifact.write_table("trials.parquet", trial_table(plan.config, book.records))
    artifact.write_text(
        "trials.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )
    artifact.write_text("results.md", markdown(results))
    artifact.write_text("report.html", page(results, plan.config.space))
    best = best_of(book.records, plan.mode)
    if best is not None:
        artifact.write_text(RECIPE, best_recipe(plan, best))
    artifact.seal(
        rows={"trials": len(book.records)},
        counts=results["states"] | {"best": results["best"], "budget": plan.budget},
        seed=plan.config.seed,
    )
    for name in FILES:
        if run.fs.exists(artifact.at(name)):
            run.fs.copy(artifact.at(name), posixpath.join(posixpath.dirname(artifact.path), name))
    return results


def folder_of_results(artifact: Artifact) -> str:
    """Where the newest results are, under names that do not change."""
    return posixpath.join(artifact.run.root, artifact.spec.stage)


def best_recipe(plan: Plan, best: TrialRecord) -> str:
    """The plan's recipe with the values of trial ``best`` and without its sweep, as YAML."""
    tree: dict[str, Any] = plan.recipe.model_dump(mode="json", exclude_unset=True)
    tree.pop("sweep", None)
    for field, value in best.values.items():
        *groups, last = field.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    parse_recipe(tree, where=RECIPE)  # a recipe that could not be run must not be left behind
    told = [
        f"Recipe {plan.recipe.name} with the best values that a sweep of {plan.target.name} found, those of trial",
        f"{best.number}: {plan.metric} {score_text(best.score)} on held-out training questions.",
        *(f"  {field}: {scalar_text(value)}" for field, value in best.values.items()),
    ]
    comments = "".join(f"# {line}\n" for line in told)
    return comments + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)
