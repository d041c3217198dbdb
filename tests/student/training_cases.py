"""Tiny trainings that several tests look at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from kard_ray.benchmarks.question import Question
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.student.config import StudentConfig
from kard_ray.student.methods.registry import MethodName
from kard_ray.student.table import TrainingInputs
from kard_ray.student.train import train
from kard_ray.teacher.rationales import RATIONALES
from kard_ray.teacher.silver import SILVER

ROWS = 9  # with batches of 8 the last step of an epoch has one row: the second of two workers has none


def questions(count: int = ROWS) -> list[Question]:
    return [
        Question(
            question_id=f"q{at}",
            split="train",
            question=f"What is {at}?",
            options=("yes", "no"),
            answer=at % 2,
        )
        for at in range(count)
    ]


def rationales(count: int = ROWS, *, kept: bool = True) -> pa.Table:
    words = ["Norway", "Chile", "number", "larger", "kilometres"]
    return pa.Table.from_pylist(
        [
            {
                "rationale_id": f"q{at}#0",
                "question_id": f"q{at}",
                "split": "train",
                "sample": 0,
                "rationale": " ".join(words[: 1 + at % 5])
                + f" {at}. So the answer is {('yes', 'no')[at % 2]}.",
                "kept": kept,
                "dropped_by": "" if kept else "concludes",
                "dropped_because": "",
                "prompt_tokens": 1,
                "generated_tokens": 1,
            }
            for at in range(count)
        ],
        schema=RATIONALES,
    )


# Three stages of 8 steps: an internalised passage is shown whole, by half, and not at all.
CURRICULUM: dict[str, Any] = {
    "method": "kard_intern", "epochs": 12, "held_out": 0.3, "best": "loss", "evaluations": 2, "batch_size": 4,
}  # fmt: skip


def silver(count: int = ROWS) -> pa.Table:
    rows = [
        {
            "rationale_id": f"q{at}#0",
            "question_id": f"q{at}",
            "split": "train",
            "passages": [
                {"passage_id": f"p{at}", "title": "", "text": f"Something about {at} is known.", "score": 1.0}
            ],
        }
        for at in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=SILVER)


def artifact_of(folder: Path, method: MethodName) -> Artifact:
    return RunDirectory(str(folder)).artifact(ArtifactSpec(stage=f"train/{method}", version=1, config={}))


def student(
    folder: Path,
    model: Path,
    method: MethodName = "std_cot",
    *,
    found: pa.Table | None = None,
    **settings: Any,
) -> tuple[Artifact, Manifest]:
    """Train on ``questions()``; the same ``folder`` again goes on with what is there."""
    config = StudentConfig(
        model=str(model),
        **{
            "precision": "fp32", "epochs": 2, "batch_size": 8, "micro_batch_tokens": 60, "learning_rate": 1e-3,
            "max_failures": 0,
        } | settings,
    )  # fmt: skip
    artifact = artifact_of(folder, method)
    inputs = TrainingInputs(
        questions=questions(),
        rationales=rationales(),
        found=found,
        silver=silver(),
        fractions=(1.0, 0.5, 0.0),
    )
    return artifact, train(method, inputs, config, "text", artifact)


def main() -> None:
    """Train the curriculum in an own process, that a test may kill: ``python -m ... FOLDER MODEL``."""
    from kard_ray.runtime.session import ClusterConfig, ray_session

    with ray_session(ClusterConfig(num_cpus=4, object_store_mb=200)):
        student(Path(sys.argv[1]), Path(sys.argv[2]), **CURRICULUM, checkpoint_seconds=0)


if __name__ == "__main__":
    main()
