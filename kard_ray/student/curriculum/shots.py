"""Few-shot examples of a training question: its nearest training questions by embedding, fewer at each stage.

SKIntern takes the K training examples most similar to x_i and keeps floor(K * S_t) of them at stage t, drawn at random
(section 3.1, A.4); its released code draws one set for a whole batch, without similarity. Here the nearest of them
are kept: then the examples of stage t are a part of those of stage t - 1, what the student is to do without shrinks and
never changes, and a run that is repeated or resumed shows the same ones.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from kard_ray.knowledge.embedding import Embedder, EmbedderConfig
from kard_ray.runtime.errors import UserError
from kard_ray.student.curriculum.nearest import nearest_others

SHOTS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("shots", pa.list_(pa.string()), nullable=False),  # question ids, nearest first
    ]
)
_BATCH = 1024  # questions handed to an encoder at a time


def question_text(question: str, options: Sequence[str]) -> str:
    """What is embedded and compared: the question and its options, the same in whatever order they are listed."""
    return "\n".join([question, *sorted(options)])


def nearest_questions(
    ids: Sequence[str],
    texts: Sequence[str],
    vectors_ND: np.ndarray,
    k: int,
    kinds: Sequence[str] | None = None,
) -> pa.Table:
    """Schema SHOTS, one row per id in order: up to ``k`` other ids, nearest by cosine first, ties by id.

    Pass training questions only: every one of them may become an example. A question is not its own example, nor is
    one with the same text (case and spaces apart); of several with one text only the first by id is an example. With
    ``kinds`` examples have the question's own kind. Raises ValueError for an id that stands twice.
    """
    if len(set(ids)) != len(ids):
        raise ValueError("question ids must be different from each other")
    names = np.array(ids, object)
    order_N = np.empty(len(ids), np.int64)
    order_N[sorted(range(len(ids)), key=lambda at: ids[at])] = np.arange(len(ids))
    text_N = _codes([_normal(text) for text in texts])
    kind_N = _codes(kinds if kinds is not None else [""] * len(ids))
    shots: list[list[str]] = [[] for _ in ids]
    for kind in range(kind_N.max(initial=-1) + 1):
        members = np.flatnonzero(kind_N == kind)
        _, group = np.unique(text_N[members], return_inverse=True)
        for at, near_K in zip(
            members, nearest_others(vectors_ND[members], group, order_N[members], k), strict=True
        ):
            shots[at] = names[members[near_K[near_K >= 0]]].tolist()
    return pa.table([pa.array(ids, pa.string()), pa.array(shots, SHOTS.field("shots").type)], schema=SHOTS)


class QuestionEncoder:
    """Questions to vectors; an actor's callable. Both sides of the comparison get the passages' prefix."""

    def __init__(self, config: EmbedderConfig) -> None:
        self.embedder = Embedder(config)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Columns ``question_id``, ``question`` and ``options`` in; ``question_id`` and ``vector`` out."""
        texts = [
            self.embedder.prefix + question_text(row["question"], row["options"]) for row in batch.to_pylist()
        ]
        vectors = self.embedder.encode(texts)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        return pa.table({"question_id": batch["question_id"], "vector": column})


def embed_questions(
    questions: pa.Table, embedder: EmbedderConfig, *, workers: int = 1, gpus_per_worker: float = 0.0
) -> np.ndarray:
    """``[rows, dimensions]`` float32 of unit length, in the order of ``questions`` (schema QUESTIONS), on Ray Data.

    Raises UserError when a question has no vector, or two.
    """
    todo = questions.select(["question_id", "question", "options"])
    blocks = [todo.slice(at, _BATCH) for at in range(0, todo.num_rows, _BATCH)]
    if not blocks:
        return np.empty((0, 0), np.float32)
    found = ray.data.from_arrow(blocks).map_batches(
        QuestionEncoder,
        fn_constructor_args=(embedder,),
        batch_format="pyarrow",
        batch_size=_BATCH,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(blocks))),
        num_cpus=1,
        num_gpus=gpus_per_worker,
    )
    tables = list(found.iter_batches(batch_size=None, batch_format="pyarrow"))
    return in_order_of(questions["question_id"], pa.concat_tables(tables))


def in_order_of(question_ids: pa.ChunkedArray, encoded: pa.Table) -> np.ndarray:
    """``[len(question_ids), dimensions]`` from rows ``{question_id, vector}``, which may come in any order.

    Raises UserError when a question has no vector, or two.
    """
    encoded = encoded.combine_chunks()
    places = pc.index_in(question_ids, encoded["question_id"].combine_chunks()).combine_chunks()
    if places.null_count or encoded.num_rows != len(question_ids):
        raise UserError(
            f"few-shot selection: {len(question_ids)} questions went in and {encoded.num_rows} vectors came out, "
            f"{places.null_count} questions without one; run the same command again."
        )
    column = encoded["vector"].combine_chunks()
    vectors_ND = column.flatten().to_numpy().reshape(-1, column.type.list_size)
    return vectors_ND[places.to_numpy()]


def select_shots(
    questions: pa.Table,
    embedder: EmbedderConfig,
    k: int,
    *,
    same_kind: bool = False,
    workers: int = 1,
    gpus_per_worker: float = 0.0,
) -> pa.Table:
    """Schema SHOTS for the training questions of ``questions`` (schema QUESTIONS); dev and test are left out."""
    train = questions.filter(pc.equal(questions["split"], "train"))
    vectors_ND = embed_questions(train, embedder, workers=workers, gpus_per_worker=gpus_per_worker)
    texts = [
        question_text(row["question"], row["options"])
        for row in train.select(["question", "options"]).to_pylist()
    ]
    kinds = train["kind"].to_pylist() if same_kind else None
    return nearest_questions(train["question_id"].to_pylist(), texts, vectors_ND, k, kinds)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _codes(values: Sequence[str]) -> np.ndarray:
    """A number for each different value."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
