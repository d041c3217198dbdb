"""What a reader of a knowledge base must know about how it was made: ``settings.json`` in its folder."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import ValidationError

from kard_ray.knowledge.analysis import AnalyzerConfig
from kard_ray.knowledge.bm25_build import Bm25Config
from kard_ray.knowledge.chunking import ChunkingConfig
from kard_ray.knowledge.config import KnowledgeConfig, VectorIndexConfig
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import ResolvedModel

_FILE = "settings.json"


class Settings(Frozen):
    """The same for all versions of one knowledge base."""

    embedder: str | None  # model reference
    embedder_revision: str | None
    embedder_dtype: Literal["float32", "bfloat16"]
    query_prefix: str
    passage_prefix: str
    cut: ChunkingConfig | None  # None: a document is one passage
    analyzer: AnalyzerConfig
    bm25: Bm25Config
    vectors: VectorIndexConfig


def settings_of(config: KnowledgeConfig, model: ResolvedModel | None) -> Settings:
    """What ``config`` says of making passages and of searching."""
    return Settings(
        embedder=config.embedder,
        embedder_revision=model.revision if model is not None else None,
        embedder_dtype=config.embedder_dtype,
        query_prefix=config.query_prefix,
        passage_prefix=config.passage_prefix,
        cut=config.cut,
        analyzer=config.analyzer,
        bm25=config.bm25,
        vectors=config.vectors,
    )


def write_settings(folder: str, settings: Settings) -> None:
    """Write them into the knowledge base's folder."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, _FILE), "w", encoding="utf-8") as sink:
        sink.write(settings.model_dump_json(indent=2) + "\n")


def read_settings(folder: str) -> Settings:
    """Raises UserError when ``folder`` is no knowledge base."""
    path = os.path.join(folder, _FILE)
    try:
        with open(path, encoding="utf-8") as source:
            return Settings.model_validate_json(source.read())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"knowledge base {folder}: {path} cannot be read ({type(error).__name__}); "
            "build it with kard-ray knowledge."
        ) from error
