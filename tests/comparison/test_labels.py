from __future__ import annotations

import pytest

from kard_ray.comparison.labels import Labels


def row(passages: str, method: str = "kard", student: str = "a") -> dict[str, str]:
    return {
        "id": f"{student}/{method}/{passages}",
        "student": student,
        "method": method,
        "passages": passages,
    }


@pytest.mark.parametrize(
    ("passages", "label"),
    [
        ("none", "KARD"),
        ("bm25", "KARD (BM25)"),
        ("bm25:2", "KARD (BM25, two rounds)"),
        ("reranker", "KARD (reranker)"),
        ("reranker:2", "KARD (reranker, two rounds)"),
        ("multivector:3", "KARD (token vectors, three rounds)"),
        ("gated reranker:2", "KARD (when unsure, reranker, two rounds)"),
        ("silver", "KARD (silver)"),
    ],
)
def test_a_row_is_called_after_what_it_reads(passages: str, label: str) -> None:
    assert Labels([row(passages)]).of(row(passages)) == label


def test_students_are_named_where_there_are_several() -> None:
    rows = [row("reranker", student="kl"), row("reranker", student="cross_entropy")]
    labels = Labels(rows)
    assert [labels.of(one) for one in rows] == ["KARD (reranker), kl", "KARD (reranker), cross_entropy"]
