"""A bi-encoder: one vector for the question, one for the passage, their dot product (the mean of the tokens')."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kard_ray.reranker.config import Architecture
from kard_ray.reranker.encoder import Ids, Padded, by_length
from kard_ray.reranker.model import BATCH_TOKENS, Reranker, in_chunks, in_rows


class BiEncoder(Reranker):
    """The cheapest at use, and the one that sees least."""

    architecture: ClassVar[Architecture] = "bi_encoder"

    def vectors(self, texts: Padded) -> Tensor:
        """``[N, D]`` float32: the head's image of the mean over tokens without padding."""
        mask_NL1 = texts.mask_NL[..., None]
        hidden_NLH = self.encoder(texts)
        mean_NH = (hidden_NLH * mask_NL1).sum(dim=1) / mask_NL1.sum(dim=1)
        vectors = self.head(mean_NH).float()
        return torch.nn.functional.normalize(vectors, dim=-1) if self.config.normalised else vectors

    def scores(self, query_tokens: Sequence[Ids], passage_tokens: Sequence[Sequence[Ids]]) -> Tensor:
        """As :meth:`Reranker.scores`."""
        counts = [len(of) for of in passage_tokens]
        device = self.encoder.device
        owner_N = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(device)
        query_BD = self.vectors(self.encoder.single(query_tokens).to(device))
        flat = list(chain.from_iterable(passage_tokens))

        def score(numbers: list[int]) -> Tensor:
            passage_ND = self.vectors(self.encoder.single([flat[at] for at in numbers]).to(device))
            return (query_BD[owner_N[numbers]] * passage_ND).sum(dim=1)

        return in_rows(in_chunks([len(ids) for ids in flat], score), counts)

    @torch.inference_mode()
    def _encode(self, tokens: Sequence[Ids], batch_tokens: int) -> np.ndarray:
        found = np.empty((len(tokens), self.config.dimensions), np.float32)
        for numbers in by_length([len(ids) + 2 for ids in tokens], batch_tokens):
            batch = self.encoder.single([tokens[at] for at in numbers]).to(self.encoder.device)
            found[numbers] = self.vectors(batch).cpu().numpy()
        return found

    def score(
        self, queries: Sequence[str], passages: Sequence[Sequence[str]], *, batch_tokens: int = BATCH_TOKENS
    ) -> list[np.ndarray]:
        """As :meth:`Reranker.score`; a passage of several questions is encoded once."""
        unique = {text: at for at, text in enumerate(dict.fromkeys(chain.from_iterable(passages)))}
        encoded = self._encode(self.passage_tokens(list(unique)), batch_tokens)
        asked = self._encode(self.query_tokens(queries), batch_tokens)
        return [
            encoded[[unique[text] for text in of]] @ query_D if of else np.empty(0, np.float32)
            for query_D, of in zip(asked, passages, strict=True)
        ]
