"""What a knowledge base holds, and how it is made and searched."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from kard_ray.knowledge.analysis import AnalyzerConfig
from kard_ray.knowledge.bm25_build import Bm25Config
from kard_ray.knowledge.chunking import ChunkingConfig
from kard_ray.knowledge.near_duplicates import DeduplicationConfig
from kard_ray.knowledge.readers.registry import Corpus
from kard_ray.runtime.config import Frozen


class VectorIndexConfig(Frozen):
    """The approximate index over vectors; below ``exact_below`` passages every vector is compared."""

    kind: Literal["ivf_pq", "ivf_hnsw_sq"] = "ivf_pq"
    exact_below: int = Field(200_000, ge=0)  # passages; 200,000 of 384 dimensions take 0.3 GB of memory
    partition_rows: int = Field(4096, ge=256)  # passages per partition
    probes: int = Field(32, ge=1)  # partitions searched per query
    refine: int = Field(20, ge=1)  # k * refine candidates are compared by their full vectors


class KnowledgeConfig(Frozen):
    """What the knowledge base holds and how it is searched."""

    EXECUTION = frozenset({"embedder_batch", "workers", "gpus_per_worker"})

    corpus: Corpus
    # by_corpus: cut what its reader calls documents (text folders, MedQuAD) with the defaults, keep the rest whole
    chunking: ChunkingConfig | Literal["by_corpus", "whole"] = "by_corpus"
    deduplication: DeduplicationConfig = DeduplicationConfig()
    max_passage_characters: int = Field(20_000, ge=100)  # about ten printed pages: a longer one is a failure
    embedder: str | None = (
        "bundled:minilm"  # model reference of a sentence encoder; null: full-text search only
    )
    embedder_dtype: Literal["float32", "bfloat16"] = (
        "bfloat16"  # 3 times as fast on CPUs with bfloat16 instructions
    )
    query_prefix: str = (
        ""  # before every query and passage that is embedded: E5 wants "query: " and "passage: "
    )
    passage_prefix: str = ""
    embedder_batch: int = Field(64, ge=1)  # texts encoded together
    workers: int = Field(2, ge=1)  # embedding actors, one core (or GPU) each
    gpus_per_worker: float = Field(0.0, ge=0)
    analyzer: AnalyzerConfig = AnalyzerConfig()
    bm25: Bm25Config = Bm25Config()
    vectors: VectorIndexConfig = VectorIndexConfig()

    @model_validator(mode="after")
    def _chunks_need_a_tokenizer(self) -> Self:
        if self.embedder is None and isinstance(self.chunking, ChunkingConfig):
            raise ValueError(
                "chunks are measured in tokens of knowledge.embedder, which is null; name an embedder or set "
                "chunking: whole"
            )
        return self

    @property
    def cut(self) -> ChunkingConfig | None:
        """How documents are cut; None keeps each as one passage."""
        if isinstance(self.chunking, ChunkingConfig):
            return self.chunking
        return ChunkingConfig() if self.chunking == "by_corpus" and self.corpus.LONG else None
