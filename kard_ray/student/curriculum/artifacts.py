"""The two artifacts that a curriculum is made from: compressed knowledge, and the nearest examples."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from kard_ray.knowledge.embedding import EmbedderConfig
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.models import resolve_model
from kard_ray.runtime.parts import map_resumable
from kard_ray.student.compression.compress import STAGES, by_stage, compression, refuse_repeated
from kard_ray.student.compression.registry import chosen
from kard_ray.student.curriculum.config import CurriculumConfig
from kard_ray.student.curriculum.schedule import fractions
from kard_ray.student.curriculum.shots import select_shots

COMPRESSION_VERSION = EXAMPLES_VERSION = 1


def write_compressed(symbolic: pa.Table, config: CurriculumConfig, artifact: Artifact) -> Manifest:
    """Every row of ``symbolic`` (schema SYMBOLIC) at every stage; writes schema COMPRESSED; resumes by rationale.

    Raises UserError if a rationale stands twice, the model does not resolve, or a row is lost.
    """
    refuse_repeated(symbolic)
    compressor = chosen(config.compression)
    model = resolve_model(compressor.model or "")
    asked = fractions(config.schedule)
    stages = map_resumable(
        symbolic.select(["rationale_id", "question_id", "split", "summary", "supplement"]),
        compression(compressor, model.path, asked),
        artifact=artifact,
        schema=STAGES,
        id_column="rationale_id",
        label="compression",
        block_rows=compressor.batch_rows,
    )
    table = by_stage(stages)
    artifact.write_table("compressed.parquet", table)
    achieved = table.group_by("stage").aggregate([("achieved_fraction", "mean")]).sort_by("stage")
    return artifact.seal(
        rows={"compressed": table.num_rows},
        counts={
            "compressor": compressor.kind,
            "asked_fractions": [round(fraction, 4) for fraction in asked],
            "achieved_fractions": [round(mean, 4) for mean in achieved["achieved_fraction_mean"].to_pylist()],
        },
        models={model.ref: model.revision},
    )


def write_examples(
    questions: pa.Table, embedder: str, prefix: str, config: CurriculumConfig, artifact: Artifact
) -> Manifest:
    """The nearest training questions of each training question; writes schema SHOTS.

    ``questions`` (schema QUESTIONS) are those of the run's train split.
    """
    model = resolve_model(embedder)
    shots = select_shots(
        questions,
        EmbedderConfig(model_path=model.path, dtype="bfloat16", passage_prefix=prefix),
        config.examples,
        same_kind=config.same_kind,
        workers=config.encoders,
    )
    artifact.write_table("examples.parquet", shots)
    fewest = pc.min(pc.list_value_length(shots["shots"])).as_py() or 0
    return artifact.seal(
        rows={"examples": shots.num_rows},
        counts={"fewest_examples": fewest},
        models={model.ref: model.revision},
    )
