"""Late interaction: a vector for every token, and each of the question's looks for its best match in the passage.

    f(d, x) = sum over tokens q of x of  max over tokens p of d of  <q, p>

as in ColBERT (Khattab and Zaharia 2020) and KARD's reranker (reranker/models/colbert.py): one encoder for both sides,
a linear projection, tokens without padding. With ``normalised`` every vector has length 1; KARD's code takes the plain
dot product. Special tokens count as tokens.

Shape letters: N texts, Q tokens of a question, P of a passage, L of either, D numbers of a vector.
"""

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


class LateInteraction(Reranker):
    """Token vectors of passages can be computed beforehand: at use a question costs one encoding."""

    architecture: ClassVar[Architecture] = "late_interaction"

    def vectors(self, texts: Padded) -> Tensor:
        """``[N, L, D]`` float32; where the mask is 0, nothing of meaning."""
        vectors = self.head(self.encoder(texts)).float()
        return torch.nn.functional.normalize(vectors, dim=-1) if self.config.normalised else vectors

    def scores(self, query_tokens: Sequence[Ids], passage_tokens: Sequence[Sequence[Ids]]) -> Tensor:
        """As :meth:`Reranker.scores`."""
        counts = [len(of) for of in passage_tokens]
        device = self.encoder.device
        owner_N = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(device)
        queries = self.encoder.single(query_tokens).to(device)
        query_BQD = self.vectors(queries)
        flat = list(chain.from_iterable(passage_tokens))

        def score(numbers: list[int]) -> Tensor:
            passages = self.encoder.single([flat[at] for at in numbers]).to(device)
            mine = owner_N[numbers]
            return max_sim(query_BQD[mine], queries.mask_NL[mine], self.vectors(passages), passages.mask_NL)

        return in_rows(in_chunks([len(ids) for ids in flat], score), counts)

    def encode_queries(self, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS) -> list[np.ndarray]:
        """``[tokens, D]`` float32 for each question; padding is left out."""
        return self._encode(self.query_tokens(texts), batch_tokens)

    def encode_passages(self, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS) -> list[np.ndarray]:
        """``[tokens, D]`` float32 for each passage (see ``model.passage_text``); padding is left out."""
        return self._encode(self.passage_tokens(texts), batch_tokens)

    @torch.inference_mode()
    def _encode(self, tokens: Sequence[Ids], batch_tokens: int) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty(0)] * len(tokens)
        for numbers in by_length([len(ids) + 2 for ids in tokens], batch_tokens):
            batch = self.encoder.single([tokens[at] for at in numbers]).to(self.encoder.device)
            vectors = self.vectors(batch).cpu().numpy()
            lengths = batch.mask_NL.sum(dim=1).tolist()
            for at, of_text, length in zip(numbers, vectors, lengths, strict=True):
                found[at] = of_text[:length].copy()
        return found

    def score(
        self, queries: Sequence[str], passages: Sequence[Sequence[str]], *, batch_tokens: int = BATCH_TOKENS
    ) -> list[np.ndarray]:
        """As :meth:`Reranker.score`; a passage of several questions is encoded once."""
        unique = {text: at for at, text in enumerate(dict.fromkeys(chain.from_iterable(passages)))}
        encoded = self.encode_passages(list(unique), batch_tokens=batch_tokens)
        asked = self.encode_queries(queries, batch_tokens=batch_tokens)
        return [
            max_sim_of(query_QD, [encoded[unique[text]] for text in of])
            for query_QD, of in zip(asked, passages, strict=True)
        ]


def max_sim(query_NQD: Tensor, query_mask_NQ: Tensor, passage_NPD: Tensor, passage_mask_NP: Tensor) -> Tensor:
    """``score_N`` of N pairs; tokens whose mask is 0 neither look nor are found."""
    product_NQP = query_NQD @ passage_NPD.transpose(1, 2)
    product_NQP = product_NQP.masked_fill(passage_mask_NP[:, None] == 0, float("-inf"))
    best_NQ = product_NQP.amax(dim=2).masked_fill(query_mask_NQ == 0, 0.0)
    return best_NQ.sum(dim=1)


def max_sim_of(query_QD: np.ndarray, passages: Sequence[np.ndarray]) -> np.ndarray:
    """float32 scores of passages, each ``[P, D]``, for one question."""
    if not passages:
        return np.empty(0, np.float32)
    product_QP = query_QD @ np.concatenate(passages).T
    begins = np.cumsum([0, *(len(of) for of in passages[:-1])])
    return np.maximum.reduceat(product_QP, begins, axis=1).sum(axis=0, dtype=np.float32)
