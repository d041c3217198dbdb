"""Passages that say the same, word for word or nearly: keys that equal or near texts share, and the exact check.

Near means a high Jaccard similarity of the sets of shingles (words in a row). MinHash (Broder 1997) estimates it from
random permutations; texts whose values agree on a whole band of permutations become candidates (Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3). Off unless asked for: passages from templates that differ in one
number are near, and yet tell different facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from pydantic import Field

from kard_ray.knowledge.contamination import words
from kard_ray.runtime.config import Frozen

_SEED = 1  # of the permutations: another one gives other keys
_FOUND = 0.95  # least probability that two texts just as near as asked share a band


class DeduplicationConfig(Frozen):
    """Which passages are left out because another one says the same; the first in the corpus's order stays."""

    exact: bool = True  # equal title and text, white space aside
    near: float | None = Field(None, ge=0.5, le=1.0)  # Jaccard similarity from which on; null: off
    shingle_words: int = Field(5, ge=1)  # words in a row that are compared as one
    # Of MinHash: more find near texts more surely, and take longer
    permutations: int = Field(128, ge=16, le=1024)

    @cached_property
    def rows(self) -> int:
        """Permutations in a band: as many as possible while a pair at the threshold is found with 95 %.

        Two texts of similarity s share a band with probability 1 - (1 - s^rows)^bands, a curve that is steepest at
        about (1/bands)^(1/rows): 0.66 for a threshold of 0.8 (18 bands of 7), 0.83 for 0.9, 0.29 for 0.5. Candidates
        below the threshold only take the time of their exact check.
        """
        near = 1.0 if self.near is None else self.near
        return max(
            rows
            for rows in range(1, self.permutations + 1)
            if 1 - (1 - near**rows) ** (self.permutations // rows) >= _FOUND
        )

    @property
    def bands(self) -> int:
        """Keys of each passage; 0 when near duplicates are not looked for."""
        return 0 if self.near is None else self.permutations // self.rows


def shingles(text: str, n: int) -> set[bytes]:
    """All runs of ``n`` words, without case and punctuation; never empty.

    A text of fewer words is one shingle, and so is one without any word: it is compared as it stands.
    """
    found = words(text)
    if not found:
        return {" ".join(text.split()).encode("utf-8", "surrogatepass")}
    return {" ".join(found[at : at + n]).encode() for at in range(max(1, len(found) - n + 1))}


def jaccard(text_a: str, text_b: str, n: int) -> float:
    """Shingles that both texts have, as a share of those that one of them has: from 0 to 1."""
    a, b = shingles(text_a, n), shingles(text_b, n)
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def band_keys(texts: Sequence[str], config: DeduplicationConfig) -> np.ndarray:
    """``[len(texts), config.bands]`` uint64: texts with an equal key in a column may be near; compare them.

    Equal texts have equal keys everywhere. Keys are the same in every process and run; a column's keys differ from
    another's.
    """
    if not config.bands or not texts:
        return np.empty((len(texts), config.bands), np.uint64)
    # Imported here: it takes half a second (SciPy), and configurations are read without it.
    from datasketch import MinHash

    sets = (shingles(text, config.shingle_words) for text in texts)
    hashes = MinHash.generator(sets, num_perm=config.permutations, seed=_SEED, scheme="affine32")
    values_TP = np.stack([it.hashvalues for it in hashes]).astype(np.uint64)  # texts, permutations
    values_TBR = values_TP[:, : config.bands * config.rows].reshape(len(texts), config.bands, config.rows)
    keys_TB = np.broadcast_to(np.arange(1, config.bands + 1, dtype=np.uint64), values_TBR.shape[:2])
    for row in range(config.rows):
        keys_TB = _mixed(keys_TB ^ values_TBR[:, :, row])
    return keys_TB


def _mixed(keys: np.ndarray) -> np.ndarray:
    """One step of SplitMix64 (Steele, Lea and Flood 2014), a bijection whose every output bit hangs on all inputs'."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
