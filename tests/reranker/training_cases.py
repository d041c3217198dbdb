"""A tiny world that several tests train on: which passage belongs to a question stands in neither's words."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa

from kard_ray.reranker.candidates import CANDIDATES, PASSAGE_TEXTS
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.train import train_reranker
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory

COUNTRIES = ("norway", "chile", "chad", "peru", "mali", "cuba", "iran", "fiji")
CAPITALS = ("oslo", "santiago", "jamena", "lima", "bamako", "havana", "tehran", "suva")
ASKED = ("where is {}", "what is near {}", "tell of {}", "is {} old", "how large is {}", "who lives in {}")
VOCABULARY = " ".join((*COUNTRIES, *CAPITALS, *ASKED)).replace("{}", "")


def tables() -> tuple[pa.Table, pa.Table]:
    """Candidate sets and passages: the question names a capital, its passage the country; some sets are held out.

    The question's own search finds the passages in an order of chance.
    """
    passages = [
        {"passage_id": f"p{at}", "title": name, "text": f"land of {name}"}
        for at, name in enumerate(COUNTRIES)
    ]
    rng = random.Random(0)
    rows = []
    for at, capital in enumerate(CAPITALS):
        for form, text in enumerate(ASKED):
            places = rng.sample(range(len(COUNTRIES)), len(COUNTRIES))
            candidates = [
                {
                    "passage_id": f"p{other}",
                    "by_rationale": (other - at) % len(COUNTRIES) < 4,
                    "by_question": True,
                    "place": places[other],
                    "score": 20.0 if other == at else float((other - at) % len(COUNTRIES)) / 8,
                }
                for other in range(len(COUNTRIES))
            ]
            rows.append(
                {
                    "rationale_id": f"q{at}-{form}#0",
                    "question_id": f"q{at}-{form}",
                    "split": "dev" if form == at % len(ASKED) else "train",
                    "question": text.format(capital),
                    "candidates": sorted(candidates, key=lambda one: -one["score"]),
                }
            )
    return pa.Table.from_pylist(rows, schema=CANDIDATES), pa.Table.from_pylist(passages, schema=PASSAGE_TEXTS)


def candidates_of(folder: Path) -> Artifact:
    """The tables as a finished artifact."""
    artifact = RunDirectory(str(folder)).artifact(ArtifactSpec(stage="candidates", version=1, config={}))
    if not artifact.finished:
        candidates, passages = tables()
        artifact.write_table("candidates.parquet", candidates)
        artifact.write_table("passages.parquet", passages)
        artifact.seal(rows={"candidates": candidates.num_rows})
    return artifact


def artifact_of(folder: Path) -> Artifact:
    return RunDirectory(str(folder)).artifact(ArtifactSpec(stage="reranker", version=1, config={}))


def reranker(folder: Path, model: Path, **settings: Any) -> tuple[Artifact, Manifest]:
    """Train on :func:`tables`; the same ``folder`` again goes on with what is there."""
    config = RerankerConfig(
        model=str(model),
        **{
            "precision": "fp32", "epochs": 3, "batch_size": 6, "learning_rate": 1e-2, "max_query_tokens": 16,
            "max_passage_tokens": 16, "candidates_per_step": 6, "max_failures": 0,
        } | settings,
    )  # fmt: skip
    artifact = artifact_of(folder)
    return artifact, train_reranker(config, candidates_of(folder), artifact)
