"""Candidate sets in a worker's memory: which candidates a step takes, and the texts of their passages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kard_ray.reranker.model import passage_text
from kard_ray.runtime.errors import UserError

_LEAST = 2  # candidates of a set that can teach something


def both_sides(candidates: pa.Table, passages: pa.Table) -> tuple[CandidateSets, CandidateSets]:
    """Sets that are trained on and sets that only measure, from tables of schemas CANDIDATES and PASSAGE_TEXTS.

    Raises UserError when no set of one side has two candidates: there is nothing to choose.
    """
    sides = CandidateSets(candidates, passages, "train"), CandidateSets(candidates, passages, "dev")
    for name, sets in zip(("train", "dev"), sides, strict=True):
        if not len(sets):
            raise UserError(
                f"stage reranker: none of the {name} candidate sets has {_LEAST} candidates, so there is nothing to "
                "choose; raise reranker.by_rationale and reranker.by_question."
            )
    return sides


class CandidateSets:
    """The sets of one side (schema CANDIDATES); candidates and passages are numbered by their places in tables."""

    def __init__(self, candidates: pa.Table, passages: pa.Table, split: Literal["train", "dev"]) -> None:
        """Sets with fewer than two candidates are left out."""
        sizes = pc.list_value_length(candidates["candidates"])
        kept = pc.and_(pc.equal(candidates["split"], split), pc.greater_equal(sizes, _LEAST))
        rows = candidates.filter(kept).sort_by("rationale_id")
        self.rationale_ids: list[str] = rows["rationale_id"].to_pylist()
        self.questions: list[str] = rows["question"].to_pylist()
        lists = rows["candidates"].combine_chunks()
        flat = lists.flatten()
        self._ends = np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False), dtype=np.int64)
        self._passages = pc.index_in(flat.field("passage_id"), value_set=passages["passage_id"]).to_numpy()
        self._scores = flat.field("score").to_numpy()
        self._by_rationale = flat.field("by_rationale").to_numpy(zero_copy_only=False)
        self._places = flat.field("place").to_numpy()
        self._titles, self._texts = passages["title"], passages["text"]

    def __len__(self) -> int:
        return len(self.questions)

    def candidates(self, row: int) -> range:
        """The candidates of a set, best score first."""
        return range(int(self._ends[row - 1]) if row else 0, int(self._ends[row]))

    def scores(self, candidates: Sequence[int]) -> np.ndarray:
        """float32 scores by the rationale."""
        return self._scores[np.asarray(candidates, np.int64)]

    def places(self, candidates: Sequence[int]) -> np.ndarray:
        """Place of each in what the question found, from 0; -1 where the question did not find it."""
        return self._places[np.asarray(candidates, np.int64)]

    def passages(self, candidates: Sequence[int]) -> np.ndarray:
        """Numbers of their passages, which are in the order of passage ids."""
        return self._passages[np.asarray(candidates, np.int64)]

    def texts(self, candidates: Sequence[int]) -> list[str]:
        """What a reranker reads of their passages."""
        places = pa.array(self.passages(candidates))
        titles, texts = self._titles.take(places).to_pylist(), self._texts.take(places).to_pylist()
        return [passage_text(title, text) for title, text in zip(titles, texts, strict=True)]

    def draw(self, row: int, count: int, seed: str) -> list[int]:
        """``count`` candidates of a set, at random: half found by the rationale, half by the question alone.

        What one side lacks the other gives; a set with no more than ``count`` is taken whole. The same ``seed`` draws
        the same.
        """
        all_ = self.candidates(row)
        if len(all_) <= count:
            return list(all_)
        rng = random.Random(f"{seed}:{self.rationale_ids[row]}")
        mine = [at for at in all_ if self._by_rationale[at]]
        others = [at for at in all_ if not self._by_rationale[at]]
        rng.shuffle(mine)
        rng.shuffle(others)
        of_mine = max(count - count // 2, count - len(others))
        chosen = mine[:of_mine]
        return sorted(chosen + others[: count - len(chosen)])
