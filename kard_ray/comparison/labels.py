"""What rows are called in tables and plots, and which colour each method has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kard_ray.evaluation.sources import rounds_in_words

# The papers' names; a method without one keeps that of the recipe.
PAPER_NAMES = {
    "finetune": "Fine-tuning",
    "knowledge_finetune": "KAFT",
    "silver_finetune": "KAFT on silver",
    "std_cot": "Std-CoT",
    "mt_cot": "MT-CoT",
    "step_by_step": "Step-by-step",
    "cascod": "CasCoD",
    "kard": "KARD",
    "skintern": "SKIntern",
    "kard_intern": "KARD-Intern",
    "zero_shot": "Zero-shot",
    "zero_shot_cot": "Zero-shot CoT",
    "few_shot": "Few-shot",
    "few_shot_cot": "Few-shot CoT",
}
_SOURCES = {
    "bm25": "BM25", "none": "", "vector": "vectors", "multivector": "token vectors", "gated": "when unsure"
}  # fmt: skip


def method_name(method: str) -> str:
    """The papers' name of a method; prompted baselines with passages are told so."""
    asked = method.removesuffix("_knowledge")
    return PAPER_NAMES.get(method) or (f"{PAPER_NAMES[asked]} + passages" if asked in PAPER_NAMES else method)


def published_name(row: Mapping[str, Any]) -> str:
    """The method of a published number, with what was varied in an ablation."""
    return ", ".join(filter(None, (method_name(row["method"]), row["variant"])))


def _words_of(source: str) -> tuple[str, str]:
    search, _, _ = source.partition(":")
    return _SOURCES.get(search, search), rounds_in_words(source)


class Labels:
    """Short names that tell the rows of one comparison apart."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._students = list(dict.fromkeys(row["student"] for row in rows))
        self._methods = list(dict.fromkeys(row["method"] for row in rows))
        self.by_id = {row["id"]: self.of(row) for row in rows}

    def of(self, row: Mapping[str, Any]) -> str:
        """``KARD (reranker, two rounds)``, and the student behind it if there are several; works for cells too."""
        parts = [part for word in str(row["passages"]).split() for part in _words_of(word)]
        source = ", ".join(part for part in parts if part)
        name = method_name(row["method"]) + (f" ({source})" if source else "")
        return f"{name}, {row['student']}" if len(self._students) > 1 else name

    def colour(self, method: str) -> int:
        """A method has one colour in every plot, whatever its passages or student."""
        return self._methods.index(method)
