"""A trained reranker as others speak of it: where it is, how it is used, what it computed. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from kard_ray.reranker.config import RerankerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedReranker:
    """Where a reranker is, and how it is used; picklable."""

    folder: str
    token_vectors: str | None  # folder; None: passages are encoded when they are asked for
    config: RerankerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one question made a reranker compute, in tokens of its encoder, special ones included."""

    query_tokens: int
    candidate_tokens: tuple[int, ...] = ()  # of each passage that was scored
    precomputed: bool = False  # whether passages had been encoded before
