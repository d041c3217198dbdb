"""Rows of a knowledge base with random vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from kard_ray.knowledge.passage import embedded

DIMENSIONS = 8


def embedded_rows(passages: Sequence[tuple[str, str, str]], *, seed: int = 0) -> pa.Table:
    """(id, title, text) triples as a table of schema ``embedded(8)`` with random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(len(passages), DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        {"passage_id": i, "title": title, "text": text, "content": f"{title}\n{text}", "vector": vector}
        for (i, title, text), vector in zip(passages, vectors.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=embedded(DIMENSIONS))
