"""The report of a comparison: the artifact ``compare`` in the run directory, made from the cells that have answered."""

from __future__ import annotations

import json
import os
import platform
import posixpath
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import psutil

from kard_ray import __version__
from kard_ray.benchmarks.registry import load_benchmark
from kard_ray.comparison.examples import make_examples
from kard_ray.comparison.page import page
from kard_ray.comparison.results import make_results, published, unknown_kinds
from kard_ray.comparison.tables import markdown
from kard_ray.comparison_inputs import answers_of, passage_texts_of, silver_of
from kard_ray.grid import Cell
from kard_ray.recipe import Recipe
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, RunDirectory
from kard_ray.student.methods.registry import METHODS

VERSION = 2
FOLDER = "comparison"  # in the run directory: the newest report under names that do not change
FILES = ("results.json", "results.md", "report.html")


def write_comparison(
    recipe: Recipe,
    run: RunDirectory,
    finished: Sequence[Cell],
    missing: Sequence[Mapping[str, str]],
    *,
    command: str,
) -> Artifact:
    """The report of the ``finished`` cells, made unless it is there, and copied to :data:`FOLDER`.

    ``missing`` are the other cells, ``cell`` and ``reason``; ``command`` is what makes the same report again.
    """
    artifact = comparison_artifact(recipe, run, finished, missing)
    if not artifact.finished:
        artifact.restart_clock()
        _write(artifact, recipe, run, finished, missing, command)
    artifact.verify()
    run.fs.makedirs(posixpath.join(run.path, FOLDER), exist_ok=True)
    for name in FILES:
        run.fs.copy(artifact.at(name), posixpath.join(run.path, FOLDER, name))
    return artifact


def comparison_artifact(
    recipe: Recipe, run: RunDirectory, finished: Sequence[Cell], missing: Sequence[Mapping[str, str]]
) -> Artifact:
    """What is made from the predictions of ``finished`` cells; another set of them is another artifact."""
    inputs = {}
    for cell in finished:
        inputs[f"predict/{cell.student}/{cell.method}/{cell.seed}"] = cell.pipeline.prediction_artifact(
            cell.method
        ).spec.key
    config = recipe.compare.content() | {"name": recipe.name, "missing": list(missing)}
    return run.artifact(ArtifactSpec(stage="compare", version=VERSION, config=config, inputs=inputs))


def _write(
    artifact: Artifact,
    recipe: Recipe,
    run: RunDirectory,
    finished: Sequence[Cell],
    missing: Sequence[Mapping[str, str]],
    command: str,
) -> None:
    first = finished[0].pipeline
    questions = {q.question_id: q for q in first.selected(recipe.prediction.split)}
    answers = [one for cell in finished for one in answers_of(cell)]
    asking = [name for name, method in METHODS.items() if method.alone_and_with_passages]
    benchmark = load_benchmark(recipe.questions_from()).name
    options = [len(q.options) for q in questions.values()]
    results: dict[str, Any] = {
        "recipe": recipe.name,
        "benchmark": benchmark,
        "split": recipe.prediction.split,
        "n": len(questions),
        "questions": {"train": recipe.questions.train, recipe.prediction.split: len(questions)},
        "chance": sum(1 / count for count in options) / len(options) if all(options) else None,
        "machine": machine(),
        "package_version": __version__,
        "command": command,
        "run_directory": run.root,
        "missing": [*missing, *unknown_kinds(recipe.compare.groups, questions)],
        **make_results(
            answers,
            questions,
            asking=asking,
            claims=recipe.compare.claims,
            pairs=recipe.compare.pairs,
            groups=recipe.compare.groups,
        ),
        "published": published(benchmark),
    }
    examples = make_examples(
        answers,
        questions,
        silver_of(finished),
        partial(passage_texts_of, finished[0]),
        count=recipe.compare.examples,
    )
    artifact.write_text(
        "results.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )
    artifact.write_text("results.md", markdown(results))
    artifact.write_text("report.html", page(results, examples))
    artifact.reads = first.reads()
    artifact.seal(
        rows={"cells": len(results["cells"]), "rows": len(results["rows"]), "examples": len(examples)}
    )


def machine() -> dict[str, Any]:
    """What a report says of the machine that it was made on."""
    gib = psutil.virtual_memory().total / (1 << 30)
    return {"CPUs": os.cpu_count(), "memory": f"{gib:.0f} GiB", "platform": platform.platform()}
