"""What the report of a comparison reads of a cell: answers, how its student was trained, what its model costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from kard_ray.comparison.results import Answers, Training, by_source
from kard_ray.comparison.rows import SILVER
from kard_ray.evaluation.model_shape import parameters_of_folder
from kard_ray.grid import Cell
from kard_ray.knowledge.retrieval import passage_texts
from kard_ray.runtime.models import ModelStatus, check_model, resolve_model
from kard_ray.student.methods.registry import METHODS
from kard_ray.training.trainer import CURVE_FILE


def answers_of(cell: Cell) -> list[Answers]:
    """The finished predictions of ``cell``, one for each source; raises UserError when an artifact is damaged."""
    recipe = cell.pipeline.recipe
    predictions = cell.pipeline.prediction_artifact(cell.method)
    predictions.verify()
    together = Answers(
        student=cell.student,
        method=cell.method,
        seed=cell.seed,
        passages="",
        predictions=predictions.read_table("predictions.parquet"),
        k=recipe.student.passages,
        shape=cell.pipeline.shape(cell.method),
        parameters=_parameters(recipe.student.model, cell.pipeline.layers(cell.method)),
        training=_training(cell) if METHODS[cell.method].trained else None,
    )
    costs = cell.pipeline.search_costs(cell.method)
    return [
        # A search whose FLOPs are not known: then those of the whole answer are not known either.
        one if one.passages in costs else replace(one, shape=None)
        for one in by_source(together, costs)
    ]


def _training(cell: Cell) -> Training:
    artifact = cell.pipeline.student_artifact(cell.method)
    manifest = artifact.verify()
    curve = artifact.read_table(CURVE_FILE)
    counts = manifest.counts
    # Each stage of a curriculum has its own rows and its share of the epochs.
    stages = max(curve["stage"].to_pylist(), default=1)
    epochs = cell.pipeline.recipe.student.epochs / stages
    return Training(
        seconds=manifest.wall_seconds,
        tokens=round((counts["prompt_tokens"] + counts["target_tokens"]) * epochs),
        final_loss=counts["final_loss"],
        curve=curve,
    )


@cache
def _parameters(ref: str, layers: int | None) -> int | None:
    """Number of weights of a model with ``layers`` (None: all); None when it is not on this machine (any more)."""
    ready = check_model(ref).status is ModelStatus.READY
    return parameters_of_folder(resolve_model(ref).path, layers) if ready else None


def silver_of(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """The ids of each test question's silver passages; none when no cell was predicted with them."""
    for cell in cells:
        artifact = cell.pipeline.silver_artifact
        if SILVER in cell.pipeline.sources(cell.method) and artifact.finished:
            rows = artifact.read_table("silver.parquet").to_pylist()
            split, k = cell.pipeline.recipe.prediction.split, cell.pipeline.recipe.student.passages
            return {
                row["question_id"]: [passage["passage_id"] for passage in row["passages"][:k]]
                for row in rows
                if row["split"] == split
            }
    return {}


def passage_texts_of(cell: Cell, ids: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Title and text of passages, as the students saw them."""
    pipeline = cell.pipeline
    return passage_texts(pipeline.knowledge_folder, ids, version=pipeline.knowledge_version)
