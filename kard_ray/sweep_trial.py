"""One trial of a sweep: the recipe with other values, and the same training stage as ever.

What comes before that stage is shared: a trial reads the run directory's artifacts and writes into a folder of its own.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from typing import Any

from kard_ray.grid import CellPipeline
from kard_ray.pipeline import STAGES, Pipeline, Step
from kard_ray.recipe import Recipe, change_recipe
from kard_ray.runtime.artifacts import MANIFEST, Artifact, Manifest, RunDirectory
from kard_ray.student.held_out import best_of, measured_by
from kard_ray.tuning.space import Values
from kard_ray.tuning.targets import Target
from kard_ray.tuning.trials import trial_url

Curve = list[tuple[float, float]]  # (epochs, the metric's value)


def with_values(recipe: Recipe, target: Target, values: Values, *, where: str) -> Recipe:
    """``recipe`` with ``values``, for ``target`` alone; raises UserError naming each field that is wrong."""
    alone: dict[str, Any] = {"student.methods": [target.method]} if target.method else {}
    return change_recipe(recipe, values | alone, where=where)


def trained_step(pipeline: Pipeline, target: Target) -> Step:
    """The training of a recipe that :func:`with_values` has made."""
    return _step(pipeline, target.stage)


def _step(pipeline: Pipeline, stage: str) -> Step:
    (step,) = pipeline.steps((stage,))
    return step


def steps_before(pipeline: Pipeline, target: Target) -> list[Step]:
    """What a trial is made from, in the order in which it is made."""
    # Questions and the knowledge base's version are read by all stages, also where they are no inputs.
    found = {stage: _step(pipeline, stage) for stage in ("benchmark", "knowledge")}
    wanted = [trained_step(pipeline, target)]
    while wanted:
        for stage in wanted.pop().artifact.spec.inputs:
            if stage not in found:
                found[stage] = _step(pipeline, stage)
                wanted.append(found[stage])
    return sorted(found.values(), key=lambda step: STAGES.index(step.stage))


def run_trial(
    config: Mapping[str, Any], *, base: Pipeline, target: Target, metric: str, folder: str
) -> Mapping[str, Any]:
    """What Ray Tune runs for each trial: train with its values, unless that was done before; returns its last result.

    ``config`` has the trial's number and values. It writes below ``folder``, the address of the book's trials.
    """
    from kard_ray.tuning.reports import Forward, final_result
    from kard_ray.tuning.run import VALUES
    from kard_ray.tuning.schedulers import NUMBER

    number = config[NUMBER]
    recipe = with_values(base.recipe, target, config[VALUES], where=f"trial {number}")
    pipeline = CellPipeline(_with_trackers(recipe, base.run), base)
    epochs = epochs_of(pipeline.recipe, target)
    step = trained_step(pipeline, target)
    mine = RunDirectory(trial_url(folder, number)).artifact(step.artifact.spec)
    done = next((artifact for artifact in (step.artifact, mine) if artifact.finished), None)
    if done is None:
        pipeline.listeners = [Forward(target.reported[metric], epochs=epochs)]
        mine.restart_clock()
        step.make(mine)
        done = mine
    curve, score = outcome(done.verify(), pipeline.recipe, target, metric)
    return final_result(curve, score, epochs)


def _with_trackers(recipe: Recipe, run: RunDirectory) -> Recipe:
    """Let all trials write to the run directory's MLflow file, where there is one: their own folders do not last."""
    student = recipe.student
    if "mlflow" not in student.tracking or student.mlflow_uri is not None or not run.is_local:
        return recipe
    uri = f"sqlite:///{os.path.abspath(run.path)}/mlflow.db"
    return recipe.model_copy(update={"student": student.model_copy(update={"mlflow_uri": uri})})


def epochs_of(recipe: Recipe, target: Target) -> float:
    """Epochs of a whole training."""
    return float(getattr(recipe, target.group).epochs)


def outcome(manifest: Manifest, recipe: Recipe, target: Target, metric: str) -> tuple[Curve, float | None]:
    """What was measured during a finished training, and what the model that it left has; None: nothing was."""
    counts = manifest.counts
    if target.method:
        found = [{"step": step, "value": value} for step, value in counts["held_out"]["values"]]
        best = best_of(found, measured_by(recipe.student)) if recipe.student.best != "last" else None
    else:
        found = [{"step": seen["step"], "value": seen[metric]} for seen in counts["evaluations"]]
        best = None
    epochs = epochs_of(recipe, target) / counts["steps"]
    curve = [(seen["step"] * epochs, seen["value"]) for seen in found]
    left = best or (found[-1] if found else None)
    return curve, left["value"] if left else None


def adopt(artifact: Artifact, folder: str) -> None:
    """Move what the trial with the run directory ``folder`` has trained to ``artifact``, where its recipe has it.

    A move that was killed goes on with what is left.
    """
    source = RunDirectory(folder).artifact(artifact.spec)
    if artifact.finished or not source.finished:
        return
    fs = artifact.run.fs
    files = list(source.manifest().files)
    left = [name for name in files if fs.exists(source.at(name))]
    if len(left) == len(files) and fs.exists(artifact.path):
        fs.rm(artifact.path, recursive=True)  # an unfinished training of the same
    for name in [*left, MANIFEST]:  # the manifest last: before it nobody reads the others
        fs.makedirs(posixpath.dirname(artifact.at(name)), exist_ok=True)
        fs.mv(source.at(name), artifact.at(name))
