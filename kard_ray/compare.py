"""``kard-ray compare``: train and test every cell of a recipe's grid, and report them beside each other.

Steps that several cells share are made once, finished ones are skipped, and what the cluster has room for runs side by
side. A step that fails ends nothing but what is made from it: the report is made of what is there and names the rest.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial

from rich.console import Console
from rich.table import Table

from kard_ray.comparison_report import FOLDER, write_comparison
from kard_ray.estimate import estimate, missing_inputs
from kard_ray.execution import command_line, make, require_models, say
from kard_ray.grid import Cell, GridStep, grid_steps, make_cells
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import Recipe, load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError, explain
from kard_ray.runtime.session import ray_session
from kard_ray.scheduling import Failure, Resources, Task, run_tasks
from kard_ray.student.methods.registry import METHODS


def compare(
    recipe_path: str, *, run_dir: str | None, overrides: Iterable[str], dry_run: bool = False
) -> None:
    """Make what is missing of the recipe's grid, then the report.

    Raises UserError, after the report of what is there, that has a line for each step that failed.
    """
    overrides = list(overrides)
    recipe = load_recipe(recipe_path, overrides)
    run = RunDirectory(run_dir or f"runs/{recipe.name}")
    cells = make_cells(recipe, run)
    if dry_run:
        print_grid(recipe, cells)
        return
    Pipeline(recipe, run).claim()
    with run.alone():
        _make_and_report(recipe, run, cells, command=command_line("compare", recipe_path, run_dir, overrides))


def _make_and_report(recipe: Recipe, run: RunDirectory, cells: Sequence[Cell], *, command: str) -> None:
    steps = grid_steps(cells)
    say(f"recipe {recipe.name}, run directory {run.root}: {len(cells)} students, {len(steps)} steps")
    todo = [step for step in steps if not step.step.finished]
    if len(todo) < len(steps):
        say(f"{len(steps) - len(todo)} steps were finished before and are skipped")
    for cell in cells:
        require_models(cell.pipeline.recipe, {s.step.stage for s in todo if cell in s.cells})
    failures = run_steps(todo, recipe)
    sentences = tell(failures)
    finished = [cell for cell in cells if cell.pipeline.prediction_artifact(cell.method).finished]
    if not finished:
        raise UserError(
            "\n".join([*sentences, "no student has answered yet, so there is nothing to report."])
        )
    missing = missing_cells(cells, finished, failures)
    say(f"compare: {len(finished)} of {len(cells)} students are reported")
    artifact = write_comparison(recipe, run, finished, missing, command=command)
    print(artifact.read_text("results.md").split("\n## Published")[0].split("\n## Made with")[0], flush=True)
    say(f"results: {run.root}/{FOLDER}/report.html, results.md, results.json")
    if sentences:
        raise UserError("\n".join(sentences))


# -- running ---------------------------------------------------------------------------------------------------------


def run_steps(todo: Sequence[GridStep], recipe: Recipe) -> list[Failure]:
    """Make the artifacts of ``todo``, side by side where the cluster has room; return what failed."""
    todo = _longest_first(todo)
    with ray_session(recipe.cluster) if any(step.step.needs_ray for step in todo) else nullcontext():
        if any(step.step.stage in ("train", "predict") for step in todo):
            _import_for_threads()
        budget, node_cpus = _room()
        takes = partial(demand, node_cpus=node_cpus, gpus=budget.gpus)
        return run_tasks(_tasks(todo, takes), budget)


def _tasks(todo: Sequence[GridStep], takes: Callable[[GridStep], Resources | None]) -> list[Task]:
    """A task for each step, and before the first prediction one for each model that several predictions share."""
    by_model: dict[str, list[GridStep]] = {}
    for step in todo:
        if step.step.stage == "predict":
            by_model.setdefault(_model_of(step), []).append(step)
    shared = {f"predictions with {model}": steps for model, steps in by_model.items() if len(steps) > 1}
    answered_by = {step.path: key for key, steps in shared.items() for step in steps}
    together = [
        Task(
            key=key,
            name=f"predictions of {len(steps)} students of one model",
            work=partial(_predict_together, steps),
            after=[needed for step in steps for needed in step.needs],
            takes=takes(steps[0]),
        )
        for key, steps in shared.items()
    ]
    alone = [
        Task(
            key=step.path,
            name=step.name,
            work=partial(_work, step),
            needs=step.needs,
            after=(answered_by[step.path],) if step.path in answered_by else (),
            takes=takes(step),
        )
        for step in todo
    ]
    first = next((at for at, step in enumerate(todo) if step.step.stage == "predict"), len(todo))
    return [*alone[:first], *together, *alone[first:]]


def _import_for_threads() -> None:
    """Import here what steps import when they start.

    transformers replaces its own modules while they are imported: of two threads that import it for the first time,
    one was seen to get a module without its names ("cannot import name 'AutoConfig'").
    """
    import transformers

    for name in ("kard_ray.student.train", "kard_ray.evaluation.predict"):
        importlib.import_module(name)
    for name in ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoTokenizer"):
        getattr(transformers, name)


def _longest_first(steps: Sequence[GridStep]) -> list[GridStep]:
    """``steps`` with the trainings of the most tokens before the others: none is left to run alone at the end."""

    def length(step: GridStep) -> int:
        return estimate(step.step.label, step.cells[0].pipeline).tokens or 0

    trainings = sorted((s for s in steps if s.step.stage == "train"), key=length, reverse=True)
    return [trainings.pop(0) if step.step.stage == "train" else step for step in steps]


def _model_of(step: GridStep) -> str:
    """What an engine that answers for the students of ``step`` loads: steps of the same can share one.

    These are adapters on one model, prompted baselines of one, and cells that differ in how one student is asked.
    """
    cell = step.cells[0]
    student = cell.pipeline.recipe.student
    if not METHODS[cell.method].trained:
        return student.model
    return (
        f"adapters on {student.model}"
        if student.lora_rank
        else cell.pipeline.student_artifact(cell.method).path
    )


def _predict_together(steps: Sequence[GridStep]) -> None:
    """Have students of one model answer with one engine; their own steps then only seal."""
    from kard_ray.evaluation.predict import predict_shared

    cells = [step.cells[0] for step in steps]
    there = [
        cell
        for cell in cells
        if not METHODS[cell.method].trained or cell.pipeline.student_artifact(cell.method).finished
    ]
    predict_shared([cell.pipeline.test_prediction(cell.method) for cell in there])


def _work(step: GridStep) -> None:
    say(f"{step.name}: starts ({_state(step)})")
    try:
        make(step.step, step.name)
    except Exception as error:
        say(f"{step.name}: failed")
        if explain(error) is None:  # a fault of the program: where it was is worth knowing
            traceback.print_exception(error)
        raise


def _state(step: GridStep) -> str:
    """What there is of ``step``; artifacts of other cells are no older ones of this."""
    state = step.cells[0].pipeline.state(step.step)
    return "not made yet" if state.startswith("changed") else state


def _room() -> tuple[Resources, float]:
    """What steps may take of the cluster together, and the CPUs of its largest node.

    One CPU stays free: what renders, reads and writes rows beside engines and training workers must still run.
    """
    import ray

    if not ray.is_initialized():
        return Resources(1.0), 1.0
    whole = ray.cluster_resources()
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    return Resources(max(1.0, whole.get("CPU", 1.0) - 1), whole.get("GPU", 0.0)), max(nodes, default=1.0)


def demand(step: GridStep, *, node_cpus: float, gpus: float) -> Resources | None:
    """What ``step`` takes of the cluster; None: all of it.

    A training takes its workers. A prediction takes its engines: GPUs if there are any, else the cores that an engine
    on a CPU computes with, which are all of a node unless the recipe says less. The stages before students take all.
    """
    recipe = step.cells[0].pipeline.recipe
    if step.step.stage == "train":
        student = recipe.student
        return Resources(student.workers * student.cpus_per_worker, student.workers * student.gpus_per_worker)
    if step.step.stage == "predict":
        engine = recipe.prediction.engine
        devices = engine.replicas * engine.tensor_parallel * engine.pipeline_parallel
        if engine.device == "gpu" or (engine.device == "auto" and gpus > 0):
            return Resources(devices, devices)
        return Resources(engine.replicas * (engine.cpu_cores or node_cpus))
    return None


def tell(failures: Sequence[Failure]) -> list[str]:
    """A sentence for each failure, and one for all that could not be started because of it."""
    sentences = []
    for failure in failures:
        if failure.error is None:
            continue
        sentences.append(f"{failure.task.name}: {reason(failure.error)}")
        left = [other.task.name for other in failures if other.because is failure.task]
        if left:
            sentences.append(f"not made, because they need {failure.task.name}: {'; '.join(left)}.")
    return sentences


def reason(error: BaseException) -> str:
    """Why a step failed, in one line."""
    if isinstance(error, SystemExit):  # of Ray's handler of SIGTERM
        return "it was ended from outside; run the same command again: what was finished is kept."
    return (
        explain(error) or f"a fault of the program, {type(error).__name__}: {_first_line(error)}; see above."
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or "no message").splitlines()[0][:300]


def missing_cells(
    cells: Sequence[Cell], finished: Sequence[Cell], failures: Sequence[Failure]
) -> list[dict[str, str]]:
    """The cells without answers, with the first step of each that failed."""
    why = {}
    for failure in failures:
        told = failure.because.name if failure.because else failure.task.name
        why[failure.task.key] = f"{told}: {reason(failure.error)}" if failure.error else f"{told} failed."
    found = []
    for cell in cells:
        if cell in finished:
            continue
        paths = [step.artifact.path for step in cell.pipeline.steps(("train", "predict"))]
        found.append({"cell": cell.name, "reason": next((why[p] for p in paths if p in why), "not made.")})
    return found


# -- the dry run -----------------------------------------------------------------------------------------------------


def print_grid(recipe: Recipe, cells: Sequence[Cell]) -> None:
    """Cells, steps, which are finished, what the others may take; nothing is written."""
    console = Console(width=None if Console().is_terminal else 140)
    missing = sorted({line for cell in cells for line in missing_inputs(cell.pipeline.recipe)})
    has_data = not any(line.startswith(("benchmark:", "knowledge.corpus:")) for line in missing)
    table = Table(title=f"recipe {recipe.name}: {len(cells)} students")
    for name in ("step", "for", "what would be done", "tokens", "estimated time"):
        table.add_column(
            name, justify="right" if name in ("tokens", "estimated time") else "left", overflow="fold"
        )
    total, unknown = 0.0, False
    for step in grid_steps(cells) if has_data else []:
        whose = f"{len(step.cells)} students" if len(step.cells) > 1 else step.cells[0].name
        state = _state(step)
        if state == "finished":
            table.add_row(step.step.label, whose, "skip: finished", "", "")
            continue
        cost = estimate(step.step.label, step.cells[0].pipeline)
        total += cost.seconds or 0.0
        unknown |= cost.seconds is None and bool(cost.tokens)
        table.add_row(
            step.step.label,
            whose,
            f"run: {state}",
            f"{cost.tokens:,}" if cost.tokens is not None else "",
            f"{cost.seconds / 60:.1f} min" if cost.seconds is not None else "",
        )
    if not has_data:
        for cell in cells:
            table.add_row("train, predict", cell.name, "its data is not here yet", "", "")
    console.print(table)
    for line in missing:
        console.print(f"not ready: {line}", highlight=False)
    more = ", and steps whose rate is not known" if unknown else ""
    console.print(
        f"estimated time one after the other, where a rate is known: {total / 60:.0f} minutes{more}.",
        highlight=False,
    )
