"""Run stages of a recipe: what the command line and the jobs share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from kard_ray.estimate import estimate, missing_inputs
from kard_ray.pipeline import Pipeline, Step
from kard_ray.recipe import Recipe, load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import ModelStatus, check_model, resolve_model
from kard_ray.runtime.session import ray_session
from kard_ray.student.methods.registry import METHODS

_MANY_CUT = 0.1  # of the answers of a stage: so many texts without an end are told


def command_line(verb: str, recipe_path: str, run_dir: str | None, overrides: Iterable[str]) -> str:
    """What makes a report again, as a shell takes it."""
    parts = ["kard-ray", verb, recipe_path, *(["--run-dir", run_dir] if run_dir else [])]
    return shlex.join([*parts, *(part for override in overrides for part in ("--set", override))])


def run_stages(
    recipe_path: str,
    stages: Sequence[str],
    *,
    run_dir: str | None,
    overrides: Iterable[str],
    dry_run: bool = False,
) -> None:
    """Run the named stages that are not finished, in order; print the result table when the report is among them."""
    recipe = load_recipe(recipe_path, list(overrides))
    pipeline = Pipeline(recipe, RunDirectory(run_dir or f"runs/{recipe.name}"))
    if dry_run:
        print_plan(pipeline, stages)
        return
    pipeline.claim()
    say(f"recipe {recipe.name}, run directory {pipeline.run.root}")
    with ExitStack() as stack:
        stack.enter_context(pipeline.run.alone())
        connected = False
        steps = pipeline.steps(stages)
        require_models(recipe, {step.stage for step in steps if not step.artifact.finished})
        for step in steps:
            state = pipeline.state(step)
            if state == "finished":
                say(f"{step.label}: finished before, skipped")
                continue
            say(f"{step.label}: starts ({state})")
            if step.needs_ray and not connected:
                stack.enter_context(ray_session(recipe.cluster))
                connected = True
            make(step, step.label)
    if "report" in stages:
        from kard_ray.evaluation.report import print_report

        pipeline.publish_report()  # also when it was finished before: another recipe's may have been published since
        print_report(pipeline.results(), pipeline.seconds())
        say(f"results: {pipeline.run.root}/report/results.json")


def make(step: Step, name: str) -> None:
    """Make the artifact of ``step`` and tell how long it took."""
    step.artifact.restart_clock()
    manifest = step.make(step.artifact)
    rows = ", ".join(f"{count} {what}" for what, count in manifest.rows.items())
    say(f"{name}: done in {manifest.wall_seconds:.1f} s, {rows}")
    cut = manifest.counts.get("cut", 0)
    if cut > _MANY_CUT * manifest.rows.get("predictions", 0):
        say(
            f"{name}: {cut} texts end where prediction.sampling.max_tokens ended them; raise it if they are to conclude"
        )


def require_models(recipe: Recipe, stages: Collection[str]) -> None:
    """Have the models of ``stages`` on this machine before the first one starts; raises UserError naming the field."""
    trained = all(METHODS[method].trained for method in recipe.student.methods)
    for stage, field, ref in (
        ("knowledge", "knowledge.embedder", recipe.knowledge.embedder),
        ("rationales", "teacher.model", recipe.teacher.local_model),
        ("symbolic", "teacher.model", recipe.teacher.local_model),
        ("reranker", "reranker.model", recipe.reranker.model if recipe.reranker else None),
        ("train", "student.model", recipe.student.model),
        ("predict", "student.model", None if trained else recipe.student.model),
    ):
        if ref is not None and stage in stages and check_model(ref).status is not ModelStatus.READY:
            try:
                resolve_model(ref)
            except UserError as error:
                raise UserError(f"recipe field {field}: {error}") from error


def print_plan(pipeline: Pipeline, stages: Sequence[str]) -> None:
    """The dry run: stages, what would be done and why, rows, tokens, estimated time; nothing is written."""
    missing = missing_inputs(pipeline.recipe)
    table = Table(title=f"recipe {pipeline.recipe.name}, run directory {pipeline.run.root}")
    for name in ("stage", "what would be done", "rows", "generated or trained tokens", "estimated time"):
        table.add_column(
            name, justify="left" if name in ("stage", "what would be done") else "right", overflow="fold"
        )
    total, unknown = 0.0, False
    # Without its data an artifact has no key, so there are no steps to look at, only their names.
    has_data = not any(line.startswith(("benchmark:", "knowledge.corpus:")) for line in missing)
    states = {step.label: pipeline.state(step) for step in pipeline.steps(stages)} if has_data else {}
    for label in pipeline.labels(stages):
        state = states.get(label, "its data is not here yet")
        if state == "finished":
            table.add_row(label, "skip: finished", "", "", "")
            continue
        cost = estimate(label, pipeline, has_data=has_data)
        total += cost.seconds or 0.0
        unknown |= cost.seconds is None and bool(cost.tokens or cost.rows is None)
        table.add_row(
            label,
            f"run: {state}",
            f"{cost.rows:,}" if cost.rows is not None else "",
            f"{cost.tokens:,}" if cost.tokens is not None else "",
            f"{cost.seconds:.0f} s" if cost.seconds is not None else "",
        )
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    if states.get("rationales", "finished") != "finished":
        from kard_ray.teacher_estimate import cost_table, estimate_rationales

        recipe = pipeline.recipe
        console.print(cost_table(estimate_rationales(pipeline), recipe.teacher, recipe.name))
    for line in missing:
        console.print(f"not ready: {line}", highlight=False)
    more = ", and stages whose rate is not known" if unknown else ""
    console.print(
        f"estimated time of the stages with a known rate: {total / 60:.1f} minutes{more}.", highlight=False
    )


def say(text: str) -> None:
    """A line about the run, for people, on standard error."""
    print(f"[kard-ray] {text}", file=sys.stderr, flush=True)
