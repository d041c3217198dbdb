"""A cross-encoder: question and passage read together; the head's image of the first token is the score.

It sees most and costs most: nothing of a passage can be computed beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kard_ray.reranker.config import Architecture
from kard_ray.reranker.encoder import Ids, by_length
from kard_ray.reranker.model import BATCH_TOKENS, Reranker, in_chunks, in_rows


class CrossEncoder(Reranker):
    """One forward pass for every pair."""

    architecture: ClassVar[Architecture] = "cross_encoder"

    def _scores(self, pairs: Sequence[tuple[Ids, Ids]]) -> Tensor:
        hidden_NLH = self.encoder(self.encoder.pairs(pairs).to(self.encoder.device))
        return self.head(hidden_NLH[:, 0])[:, 0].float()

    def scores(self, query_tokens: Sequence[Ids], passage_tokens: Sequence[Sequence[Ids]]) -> Tensor:
        """As :meth:`Reranker.scores`."""
        pairs = [(query, ids) for query, of in zip(query_tokens, passage_tokens, strict=True) for ids in of]
        counts = [len(of) for of in passage_tokens]
        lengths = [len(query) + len(ids) for query, ids in pairs]
        return in_rows(
            in_chunks(lengths, lambda numbers: self._scores([pairs[at] for at in numbers])), counts
        )

    @torch.inference_mode()
    def score(
        self, queries: Sequence[str], passages: Sequence[Sequence[str]], *, batch_tokens: int = BATCH_TOKENS
    ) -> list[np.ndarray]:
        """As :meth:`Reranker.score`."""
        unique = {text: at for at, text in enumerate(dict.fromkeys(t for of in passages for t in of))}
        tokens = self.passage_tokens(list(unique))
        asked = self.query_tokens(queries)
        pairs = [
            (query, tokens[unique[text]]) for query, of in zip(asked, passages, strict=True) for text in of
        ]
        found = np.empty(len(pairs), np.float32)
        for numbers in by_length([len(a) + len(b) + 4 for a, b in pairs], batch_tokens):
            found[numbers] = self._scores([pairs[at] for at in numbers]).cpu().numpy()
        ends = np.cumsum([len(of) for of in passages])
        return np.split(found, ends[:-1]) if len(passages) else []
