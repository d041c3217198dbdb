"""MaxSim over token vectors that were computed before: flat arrays, mapped into memory, shared by all processes.

    f(d, x) = sum over tokens q of x of  max over tokens p of d of  <q, p>

A passage's vectors stand beside each other, so a hundred candidates are a hundred slices. Read from a LanceDB table,
the same hundred (2.3 million numbers) took 20 to 60 ms; from here they took 1 ms, and their product with the question
another 2.

Shape letters: N passages, T tokens of all passages, P of some passages, Q of a question, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

VECTORS_FILE, ENDS_FILE, SCALES_FILE = "vectors.npy", "ends.npy", "scales.npy"
_LARGEST = 127  # of int8
_BLOCK_NUMBERS = 1 << 25  # of vectors that are compared at once: 128 MB as float32


def quantised(vectors_PD: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """int8 vectors and what each has to be multiplied by; a number is off by at most 1/254 of its vector's largest."""
    scale_P = np.abs(vectors_PD).max(axis=1, initial=0.0) / _LARGEST
    divisor_P = np.where(scale_P == 0, 1, scale_P)
    return np.rint(vectors_PD / divisor_P[:, None]).astype(np.int8), scale_P.astype(np.float32)


class TokenArrays:
    """The token vectors of all passages of one version, by the passage's number; safe to use from several threads."""

    def __init__(
        self, vectors_TD: np.ndarray, end_N: npt.NDArray[np.int64], scale_T: np.ndarray | None = None
    ) -> None:
        """``end_N`` counts tokens up to and including each passage; ``scale_T`` belongs to int8 vectors."""
        self.vectors_TD, self.scale_T = vectors_TD, scale_T
        # One more than passages: where each begins and the last ends
        self.begin_N = np.concatenate([[0], end_N])

    @classmethod
    def open(cls, folder: str | Path) -> TokenArrays:
        """Map the arrays in ``folder`` into memory."""
        where = Path(folder)
        scales = where / SCALES_FILE
        return cls(
            np.load(where / VECTORS_FILE, mmap_mode="r"),
            np.load(where / ENDS_FILE),
            np.load(scales, mmap_mode="r") if scales.is_file() else None,
        )

    @property
    def passages(self) -> int:
        """How many there are."""
        return len(self.begin_N) - 1

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        return int(self.vectors_TD.shape[1])

    def tokens(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many tokens each of these passages has."""
        return self.begin_N[documents + 1] - self.begin_N[documents]

    def scores(
        self, query_QD: npt.NDArray[np.float32], documents: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """float32 scores of these passages for one question, in their order."""
        if not len(documents):
            return np.empty(0, np.float32)
        spans = [slice(self.begin_N[at], self.begin_N[at + 1]) for at in documents.tolist()]
        vectors_PD = np.concatenate([self.vectors_TD[span] for span in spans])
        scale_P = None if self.scale_T is None else np.concatenate([self.scale_T[span] for span in spans])
        return _summed([query_QD], vectors_PD, scale_P, self.tokens(documents))[0]

    def all_scores(self, queries: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """float32 ``scores_BN`` of every passage for each of B questions; a bounded number of vectors is read at once.

        Several questions at once cost less: reading the vectors and making them float32 is two thirds of one's time.
        """
        score_BN = np.empty((len(queries), self.passages), np.float32)
        for first, last in self._blocks():
            span = slice(self.begin_N[first], self.begin_N[last])
            scale_P = None if self.scale_T is None else self.scale_T[span]
            counts = np.diff(self.begin_N[first : last + 1])
            score_BN[:, first:last] = _summed(queries, self.vectors_TD[span], scale_P, counts)
        return score_BN

    def _blocks(self) -> Iterator[tuple[int, int]]:
        most = max(1, _BLOCK_NUMBERS // self.dimensions)
        first = 0
        while first < self.passages:
            last = int(np.searchsorted(self.begin_N, self.begin_N[first] + most, side="right")) - 1
            last = min(max(last, first + 1), self.passages)
            yield first, last
            first = last


def _summed(
    queries: Sequence[npt.NDArray[np.float32]],
    vectors_PD: np.ndarray,
    scale_P: np.ndarray | None,
    counts: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """For each question the scores of passages with ``counts`` tokens each, whose vectors follow one another."""
    if not vectors_PD.flags.writeable:  # a view of the file, which torch would warn of
        vectors_PD = np.array(vectors_PD)
    # Its conversion from float16 is five times as fast as numpy's.
    passage_PD = torch.from_numpy(vectors_PD).float()
    found = np.zeros((len(queries), len(counts)), np.float32)  # 0 of a passage without a token
    filled = np.flatnonzero(counts)
    if not len(filled):
        return found
    begins = np.cumsum(counts)[filled] - counts[filled]
    for at, query_QD in enumerate(queries):
        product_QP = (torch.from_numpy(query_QD) @ passage_PD.T).numpy()
        if scale_P is not None:
            product_QP *= scale_P
        found[at, filled] = np.maximum.reduceat(product_QP, begins, axis=1).sum(axis=0)
    return found
