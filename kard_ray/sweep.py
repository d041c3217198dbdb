"""``kard-ray sweep``: search for the values of some fields with which one training stage does best.

What trials share is made once, before them. Each trial is the training stage itself with other values of its fields.
The same command goes on where a killed sweep was: no finished trial is run again.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table

from kard_ray.estimate import estimate, missing_inputs
from kard_ray.execution import command_line, make, require_models, say
from kard_ray.pipeline import Step
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import MANIFEST, PARTS, Artifact, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.session import ray_session
from kard_ray.sweep_plan import Plan, check_sharing, make_plan
from kard_ray.sweep_report import RECIPE, folder_of_results, write_sweep
from kard_ray.sweep_trial import adopt, run_trial, trained_step
from kard_ray.training.failures import why_training_failed
from kard_ray.tuning.config import scalar_text
from kard_ray.tuning.tables import reasons, summary
from kard_ray.tuning.trials import TrialBook, best_of


def sweep(recipe_path: str, *, run_dir: str | None, overrides: Iterable[str], dry_run: bool = False) -> None:
    """Run the trials that are missing of the recipe's sweep, then write its results.

    Raises UserError for a sweep that cannot be run, and, after its results, when no trial has finished.
    """
    overrides = list(overrides)
    recipe = load_recipe(recipe_path, overrides)
    run = RunDirectory(run_dir or f"runs/{recipe.name}")
    plan = make_plan(recipe, run)
    if dry_run:
        print_plan(plan)
        return
    check_sharing(plan)
    plan.base.claim()
    with run.alone():
        _sweep(plan, command_line("sweep", recipe_path, run_dir, overrides))


def _sweep(plan: Plan, command: str) -> None:
    artifact = plan.artifact
    book = TrialBook(artifact.run, artifact.path)
    say(
        f"recipe {plan.recipe.name}, run directory {artifact.run.root}: sweep of {plan.target.name}, at most "
        f"{plan.config.trials} trials"
    )
    if is_over(plan, artifact, book):
        say("all of its trials were run before; more sweep.trials go on with them")
    else:
        _run(plan, artifact, book)
    results = write_sweep(plan, artifact, book, command=command)
    print(summary(results), flush=True)
    for line in reasons(results):
        say(line)
    folder = folder_of_results(artifact)
    if results["best"] is None:
        raise UserError(
            f"no trial has finished, so there is no best recipe; {folder}/results.md tells what became of each, and "
            "the same command tries those that failed again."
        )
    say(f"results: {folder}/report.html, results.md, trials.parquet, trials.json")
    say(f"the best recipe: kard-ray run {folder}/{RECIPE} --run-dir {artifact.run.root}")


def is_over(plan: Plan, artifact: Artifact, book: TrialBook) -> bool:
    """Whether an earlier call with the same budget has come to its end, and nothing failed in it."""
    if not artifact.finished or any(record.state == "failed" for record in book.records):
        return False
    return bool(artifact.manifest().counts["budget"] == plan.budget)


def _run(plan: Plan, artifact: Artifact, book: TrialBook) -> None:
    """Make what trials share, then run those that are missing; the best one's model goes to its place in the run."""
    from kard_ray.tuning.run import run_trials, side_by_side
    from kard_ray.tuning.schedulers import make_scheduler
    from kard_ray.tuning.search import Suggestions

    fs = artifact.run.fs
    if done := sum(record.state in ("finished", "stopped") for record in book.records):
        say(f"{done} trials are done and are not run again")
    for name in (MANIFEST, PARTS):
        if fs.exists(artifact.at(name)):
            fs.rm(artifact.at(name), recursive=True)
    shared = plan.shared_steps()
    stages = {step.stage for step in shared if not step.finished} | {plan.target.stage}
    for recipe in plan.recipes():
        require_models(recipe, stages)
    suggestions = Suggestions(plan.config, plan.mode, book, own=plan.own, fault=plan.fault)
    with ray_session(plan.recipe.cluster):
        _make_shared(shared)
        cpus, gpus = plan.demand
        cluster = _cluster_resources()
        concurrency = side_by_side(
            plan.config, cpus=cpus, gpus=gpus, cluster_cpus=cluster["CPU"], cluster_gpus=cluster["GPU"]
        )
        say(
            f"trials: {concurrency} side by side, each with {cpus:g} CPUs{f' and {gpus:g} GPUs' if gpus else ''}"
        )
        run_trials(
            partial(run_trial, base=plan.base, target=plan.target, metric=plan.metric, folder=book.url),
            config=plan.config,
            metric=plan.metric,
            mode=plan.mode,
            book=book,
            suggestions=suggestions,
            scheduler=make_scheduler(plan.config, plan.mode, plan.longest, book.records),
            concurrency=concurrency,
            storage=artifact.at(PARTS) if artifact.run.is_local else artifact.url(PARTS),
            say=say,
            explain=reason,
        )
    if suggestions.used_up:
        say(f"there are no more trials to run: {suggestions.used_up}")
    best = best_of(book.records, plan.mode)
    if best is not None:
        adopt(trained_step(plan.pipeline(best.values), plan.target).artifact, book.url_of(best.number))
    if plan.config.keep == "best":
        for record in book.records:
            if record.state != "running":
                book.forget(record.number)


def _make_shared(steps: Sequence[Step]) -> None:
    count = Counter(step.label for step in steps)
    seen: Counter[str] = Counter()
    for step in steps:
        seen[step.label] += 1
        of = f" {seen[step.label]} of {count[step.label]}" if count[step.label] > 1 else ""
        if step.finished:
            say(f"{step.label}{of}: finished before, skipped")
        else:
            say(f"{step.label}{of}: starts")
            make(step, f"{step.label}{of}")


def _cluster_resources() -> dict[str, float]:
    import ray

    found = ray.cluster_resources()
    return {name: float(found.get(name, 0.0)) for name in ("CPU", "GPU")}


def reason(error: BaseException) -> str:
    """Why a trial failed, in one sentence; of a fault of the program the traceback is printed, too."""
    told = why_training_failed(
        error, less_memory="lower sweep.concurrency", failures_field="sweep.max_failures"
    )
    if told is not None:
        return told
    traceback.print_exception(error)
    text = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()[:300]
    return f"a fault of the program: {text}; its traceback is above."


# -- the dry run -----------------------------------------------------------------------------------------------------


def print_plan(plan: Plan) -> None:
    """The space, what is made before the trials, what a trial may take; nothing is written."""
    console = Console(width=None if Console().is_terminal else 140)
    config = plan.config
    table = Table(
        title=f"recipe {plan.recipe.name}: sweep of {plan.target.name} by {plan.metric} ({plan.mode})"
    )
    for name in ("field", "values", "the recipe's own"):
        table.add_column(name, overflow="fold")
    for name, values in config.space.items():
        table.add_row(name, values.text(), scalar_text(plan.own[name]))
    console.print(table)
    missing = missing_inputs(plan.recipe)
    if not any(line.startswith(("benchmark:", "knowledge.corpus:")) for line in missing):
        check_sharing(plan)
        for step in plan.shared_steps():
            console.print(f"{step.label}: {plan.base.state(step)}", highlight=False)
        own = plan.pipeline({})
        cost = estimate(trained_step(own, plan.target).label, own)
        if cost.seconds is not None:
            console.print(
                f"one trial with the recipe's own values: about {cost.seconds / 60:.1f} minutes on its own.",
                highlight=False,
            )
    for line in missing:
        console.print(f"not ready: {line}", highlight=False)
    budget = [f"{config.trials} trials"]
    budget += [f"{config.minutes:g} minutes"] if config.minutes else []
    budget += [f"{config.epochs:g} epochs of all trials"] if config.epochs else []
    cpus, gpus = plan.demand
    console.print(
        f"budget: at most {', '.join(budget)}; a trial takes {cpus:g} CPUs{f' and {gpus:g} GPUs' if gpus else ''}; "
        f"search: {config.search}, early stopping: {config.scheduler}.",
        highlight=False,
    )
