"""The passages that the teacher is shown, and those that filters compare its rationales with.

A search's query is the question with its gold answer: the teacher knows the answer (KARD), so its passages may be found
with it. What a student reads is found without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import ray

from kard_ray.benchmarks.question import Question
from kard_ray.knowledge.retrieval import Mode, RetrievalConfig, passage_texts, retrieve_for
from kard_ray.runtime.errors import UserError

Passages = Mapping[str, Sequence[Mapping[str, str]]]  # by question id: title and text of each
_BLOCK_ROWS = 256


def gold_passages(questions: Sequence[Question], folder: str, *, version: int) -> Passages:
    """The gold passages of each question that are in the knowledge base."""
    texts = passage_texts(folder, {p for q in questions for p in q.gold_passages}, version=version)
    return {q.question_id: [texts[p] for p in q.gold_passages if p in texts] for q in questions}


def require_gold(passages: Passages) -> Passages:
    """``passages``; raises UserError when no question has one."""
    if not any(passages.values()):
        raise UserError(
            "recipe field teacher.grounding: 'gold' needs questions with gold passages that are in the knowledge "
            "base, and there are none; use 'none' or a search (bm25, vector, hybrid)."
        )
    return passages


def found_passages(
    questions: Sequence[Question], folder: str, *, version: int, mode: Mode, k: int, config: RetrievalConfig
) -> Passages:
    """The ``k`` passages that each question and its answer find; needs Ray."""
    asked = pa.table(
        {
            "question_id": [q.question_id for q in questions],
            "query": [f"{q.question} {q.answer_text}" for q in questions],
        }
    )
    blocks = [asked.slice(at, _BLOCK_ROWS) for at in range(0, asked.num_rows, _BLOCK_ROWS)]
    found = retrieve_for(
        ray.data.from_arrow(blocks),
        folder=folder, k=k, query_column="query", mode=mode, config=config, version=version,
    )  # fmt: skip
    batches: Iterable[pa.Table] = found.iter_batches(batch_size=None, batch_format="pyarrow")
    return {
        row["question_id"]: [{"title": p["title"], "text": p["text"]} for p in row["passages"]]
        for batch in batches
        for row in batch.select(["question_id", "passages"]).to_pylist()
    }
