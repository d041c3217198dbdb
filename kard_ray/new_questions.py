"""``kard-ray evaluate``: a student of a finished run or comparison answers questions of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kard_ray.evaluation.scoring import wilson_interval
from kard_ray.grid import Cell, make_cells
from kard_ray.pipeline import read_run_recipe
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.session import ray_session
from kard_ray.student.methods.registry import METHODS


def evaluate_questions(
    run_dir: str,
    *,
    method: str,
    questions: Path,
    out: Path | None,
    student: str | None = None,
    seed: int | None = None,
    version: str | None = None,
) -> None:
    """Answer ``questions`` with the student of ``method``; prints the accuracy as the last line.

    Of a comparison's students of that method it is the first with the name ``student`` and the seed ``seed``. Raises
    UserError when there is none, it is not trained, or the questions cannot be read.
    """
    from kard_ray.benchmarks.jsonl import read_questions
    from kard_ray.evaluation.predict import predict

    run = RunDirectory(run_dir)
    cell = find_cell(make_cells(read_run_recipe(run), run), run_dir, method, student, seed)
    rows = read_questions(questions, "test")
    artifact = _artifact(cell, questions, version)
    if not artifact.finished:
        with ray_session(cell.pipeline.recipe.cluster):
            artifact.reads = cell.pipeline.reads(version)
            predict(cell.pipeline.prediction(cell.method, rows, artifact, new=True, version=version))
    artifact.verify()
    table = artifact.read_table("predictions.parquet")
    if out is not None:
        import pyarrow.parquet as pq

        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, out)
    correct = sum(table["correct"].to_pylist())
    low, high = wilson_interval(correct, table.num_rows)
    print(f"accuracy {correct / table.num_rows:.3f} [{low:.3f}, {high:.3f}] n={table.num_rows}", flush=True)


def find_cell(
    cells: list[Cell], run_dir: str, method: str, student: str | None = None, seed: int | None = None
) -> Cell:
    """The first of ``cells`` that is asked for; raises UserError that names those there are."""
    for option, given, known in (
        ("--method", method, [cell.method for cell in cells]),
        ("--student", student, [cell.student for cell in cells]),
        ("--seed", seed, [cell.seed for cell in cells]),
    ):
        there = list(dict.fromkeys(known))
        if given is not None and given not in there:
            raise UserError(
                f"{option} {given}: the run {run_dir} has students for {', '.join(map(str, there))}; choose one."
            )
    for cell in cells:
        if cell.method == method and student in (None, cell.student) and seed in (None, cell.seed):
            return cell
    of_method = "; ".join(cell.name for cell in cells if cell.method == method)
    raise UserError(f"the run {run_dir} has no such student; those of --method {method} are: {of_method}.")


def _artifact(cell: Cell, questions: Path, version: str | None) -> Artifact:
    """Where the answers go; the key tells the student, how it is asked, the questions and the knowledge."""
    from kard_ray.evaluation.predict import VERSION

    pipeline, method = cell.pipeline, METHODS[cell.method]
    # A prompted method has no student; the key of its predictions tells how it is prompted.
    asked = (
        pipeline.student_artifact(cell.method)
        if method.trained
        else pipeline.prediction_artifact(cell.method)
    )
    config = pipeline.recipe.prediction.content()
    config["sources"] = pipeline.sources(cell.method, new=True)
    config["questions"] = hashlib.sha256(questions.read_bytes()).hexdigest()[:16]
    if method.alone_and_with_passages:
        config["ask_below"] = pipeline.recipe.prediction.ask_below
    if version:
        config["version"] = version
    return pipeline.run.artifact(
        ArtifactSpec(
            stage=f"evaluate/{cell.method}",
            version=VERSION,
            config=config,
            inputs={
                asked.spec.stage: asked.spec.key,
                "knowledge": pipeline.knowledge_artifact.spec.key,
            },
        )
    )
