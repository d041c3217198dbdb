"""What retrieval pays for a question: passes of an encoder over the query, and over candidates that are reranked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kard_ray.evaluation.flops import encoder_flops
from kard_ray.evaluation.model_shape import EncoderShape, encoder_shape_of_folder
from kard_ray.reranker.config import Architecture
from kard_ray.reranker.trained import Work
from kard_ray.runtime.model_files import load_tokenizer

_SENTENCE_CONFIG = "sentence_bert_config.json"  # where sentence-transformers keeps the longest input


def query_flops(folder: str | Path, queries: Sequence[str], *, prefix: str = "") -> list[float] | None:
    """FLOPs of encoding each of ``queries``, each behind ``prefix``, with the sentence encoder in ``folder``.

    Queries are cut as sentence-transformers cuts them, and not padded. The search itself, which compares the query's
    vector with those that the index keeps near it, is not counted. None when the encoder's architecture is not counted.
    """
    shape, tokenizer, longest = _encoder(str(folder))
    if shape is None:
        return None
    if not queries:
        return []
    ids = tokenizer([prefix + query for query in queries], truncation=True, max_length=longest)["input_ids"]
    return [float(encoder_flops(shape, len(tokens))) for tokens in ids]


@lru_cache(maxsize=4)
def _encoder(folder: str) -> tuple[EncoderShape | None, Any, int]:
    """Shape, tokenizer and tokens of the longest input of a sentence encoder."""
    tokenizer = load_tokenizer(folder)
    return encoder_shape_of_folder(folder), tokenizer, _longest(Path(folder)) or tokenizer.model_max_length


def _longest(folder: Path) -> int | None:
    """Tokens of the longest input as sentence-transformers was told; None when it was not."""
    file = folder / _SENTENCE_CONFIG
    if not file.is_file():
        return None
    longest = json.loads(file.read_text()).get("max_seq_length")
    return None if longest is None else int(longest)


@dataclass(frozen=True, kw_only=True, slots=True)
class RerankerCost:
    """FLOPs of one reranker; its encoder's shape holds the head that each vector passes."""

    architecture: Architecture
    encoder: EncoderShape
    dimensions: int

    @classmethod
    def of_folder(cls, folder: str) -> RerankerCost | None:
        """Of the trained reranker in ``folder``; None when its encoder's architecture is not counted."""
        from kard_ray.reranker.model import ENCODER_FOLDER, read_shape

        shape = read_shape(folder)
        encoder = encoder_shape_of_folder(Path(folder) / ENCODER_FOLDER)
        if encoder is None:
            return None
        # A cross-encoder's and a bi-encoder's head meets one vector of each text: not worth counting.
        head = encoder.stack.hidden * shape.dimensions if shape.architecture == "late_interaction" else 0
        return cls(
            architecture=shape.architecture,
            encoder=replace(encoder, head_weights=head),
            dimensions=shape.dimensions,
        )

    def flops(self, work: Work) -> float:
        """Of one question: encoding it, encoding its candidates unless that was done before, and their scores.

        A candidate of several questions is paid for by each.
        """
        tokens, candidates = work.query_tokens, work.candidate_tokens
        if self.architecture == "cross_encoder":
            return float(sum(encoder_flops(self.encoder, tokens + each) for each in candidates))
        total = encoder_flops(self.encoder, tokens)
        if not work.precomputed:
            total += sum(encoder_flops(self.encoder, each) for each in candidates)
        pairs = tokens * sum(candidates) if self.architecture == "late_interaction" else len(candidates)
        return float(total + 2 * self.dimensions * pairs)
