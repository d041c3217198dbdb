"""A small knowledge base, rerankers of random weights, and token vectors made without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

from kard_ray.knowledge.passage import Document
from kard_ray.reranker import token_vectors
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.model import new_reranker
from kard_ray.reranker.token_vectors import write_token_vectors
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, RunDirectory
from tests.knowledge.rows import passage_rows, write_base

COUNTRIES = ("Norway", "Chile", "Kenya", "Laos", "Malta", "Peru", "Fiji", "Ghana", "Cuba", "Iran")
FACTS = ("The population is {n}.", "The area is {n} square kilometres.", "The first number is larger: {n}.")


def write_countries(folder: Path, passages: int = 30) -> str:
    """Passages in two fragments, of two sources."""
    documents = [
        Document(
            source_id=f"p{at:02}",
            title=COUNTRIES[at % len(COUNTRIES)],
            text=FACTS[at % len(FACTS)].format(n=7919 * (at + 3) % 1000),
            source=("book", "web")[at % 2],
        )
        for at in range(passages)
    ]
    half = passages // 2
    write_base(folder, [passage_rows(documents[:half]), passage_rows(documents[half:])])
    return str(folder)


def config_of(bert: Path, **fields: Any) -> RerankerConfig:
    small: dict[str, Any] = {"max_query_tokens": 24, "max_passage_tokens": 48, "depth": 20}
    return RerankerConfig(**({"model": str(bert), "precision": "fp32"} | small | fields))


def write_reranker(folder: Path, config: RerankerConfig, **knowledge_base: Any) -> str:
    """An untrained one: its encoder is random, and its scores are as good as any for what is tested here."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        new_reranker(config, knowledge_base=knowledge_base).save(str(folder))
    return str(folder)


def artifact_at(folder: Path) -> Artifact:
    return RunDirectory(str(folder)).artifact(ArtifactSpec(stage="token_vectors", version=1, config={}))


def write_here(folder: Path, knowledge: str, reranker: str, config: RerankerConfig) -> str:
    """The folder of the token vectors, made in several ranges and without Ray."""
    artifact = artifact_at(folder)
    with patch.object(token_vectors, "_MIN_ROWS", 7):
        write_token_vectors(
            artifact,
            folder=knowledge,
            version=None,
            reranker_folder=reranker,
            dtype=config.vector_dtype,
            precision=config.precision,
            workers=0,
        )
    artifact.verify()
    return artifact.path
