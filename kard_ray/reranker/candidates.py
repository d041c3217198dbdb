"""Candidate sets: what a rationale and its question find, all scored with the rationale (KARD, section 3.2).

    D = top-κ1(d | rationale) ∪ top-κ2(d | question),     ρ(d, rationale) for every d in D

Those that the question finds are what the reranker will have to choose from; those that the rationale finds show it
what it should have chosen. Held-out questions have sets of a fixed size, so that trainings with other κ1 and κ2 are
measured on the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from kard_ray.knowledge.fragments import table_uri
from kard_ray.knowledge.retrieval import KnowledgeBase, Mode, RetrievalConfig
from kard_ray.knowledge.versions import find_version
from kard_ray.reranker.config import RerankerConfig
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.parts import map_resumable
from kard_ray.teacher.silver import SilverConfig, queries, with_questions
from kard_ray.training.held_out import is_held_out

VERSION = 1
CANDIDATES_FILE = "candidates.parquet"
PASSAGES_FILE = "passages.parquet"

SILVER = 3  # the best so many by the rationale are what a held-out question should find (KARD's Hits@k)
_DEV_BY_RATIONALE = 10  # of a held-out question's candidates

CANDIDATE_LIST = pa.list_(
    pa.struct(
        [
            pa.field("passage_id", pa.string()),
            pa.field("by_rationale", pa.bool_()),  # among the rationale's κ1
            pa.field("by_question", pa.bool_()),  # among the question's κ2
            # In what the question found, from 0; -1: the question did not find it
            pa.field("place", pa.int32()),
            pa.field("score", pa.float32()),  # ρ, of the rationale, whoever found the passage
        ]
    )
)

CANDIDATES = pa.schema(
    [
        pa.field("rationale_id", pa.string()),
        pa.field("question_id", pa.string()),
        # train, or dev (held out); all rationales of a question are on one side
        pa.field("split", pa.string()),
        pa.field("question", pa.string()),  # as it is searched for
        pa.field("candidates", CANDIDATE_LIST),  # best score first
    ]
)

PASSAGE_TEXTS = pa.schema([(name, pa.string()) for name in ("passage_id", "title", "text")])


def asked(
    rationales: pa.Table,
    questions: Mapping[str, str],
    texts: Mapping[str, str],
    config: RerankerConfig,
    silver: SilverConfig,
    *,
    test_split: str,
) -> pa.Table:
    """rationale_id, question_id, split, question and rationale (the query) of every kept rationale.

    No question of ``test_split`` is among them, and none that is missing in ``questions``, the queries by question id.
    ``texts`` are plain questions, for ``silver.query``.
    Rationales of another split than train, where the teacher wrote any, are held out, and so is ``dev_fraction`` of the
    training questions. Raises UserError when one side would be empty.
    """
    rows = queries(rationales, test_split)
    known = pc.is_in(rows["question_id"], value_set=pa.array(list(questions), pa.string()))
    rows = rows.filter(pc.and_(known, pc.not_equal(rows["split"], test_split)))
    if silver.query == "question_and_rationale":
        rows = with_questions(rows, texts)
    held = [
        split != "train" or is_held_out(question_id, config.dev_fraction, config.seed)
        for split, question_id in zip(rows["split"].to_pylist(), rows["question_id"].to_pylist(), strict=True)
    ]
    if all(held) or not any(held):
        which = "all of them" if held and all(held) else "none of them"
        raise UserError(
            f"field reranker.dev_fraction: got {config.dev_fraction}, which of {len(held)} kept rationales of training "
            f"questions holds out {which}; take another share, or have more rationales kept."
        )
    return pa.table(
        {
            "rationale_id": rows["rationale_id"],
            "question_id": rows["question_id"],
            "split": pa.array(["dev" if is_dev else "train" for is_dev in held], pa.string()),
            "question": pa.array([questions[name] for name in rows["question_id"].to_pylist()], pa.string()),
            "rationale": rows["rationale"],
        }
    )


class CandidateFinder:
    """Adds ``candidates`` to batches of :func:`asked`; an actor's callable."""

    def __init__(
        self, folder: str, config: RerankerConfig, mode: Mode, retrieval: RetrievalConfig, version: int | None
    ) -> None:
        self.base = KnowledgeBase(folder, retrieval, version=version)
        self.config, self.mode = config, mode

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One rationale per row."""
        config, rationales = self.config, batch["rationale"].to_pylist()
        dev = np.array(batch["split"].to_pylist()) == "dev"
        by_rationale = self._found(
            rationales, np.where(dev, _DEV_BY_RATIONALE, config.by_rationale), self.mode
        )
        by_question = self._found(
            batch["question"].to_pylist(),
            np.where(dev, config.dev_depth, config.by_question),
            config.first_stage,
        )
        unions = [np.union1d(mine, its) for mine, its in zip(by_rationale, by_question, strict=True)]
        scores = self.base.score(rationales, unions, self.mode)
        names = self._ids(unions)
        places = [{document: at for at, document in enumerate(its.tolist())} for its in by_question]
        found = [
            [
                {
                    "passage_id": names[document],
                    "by_rationale": document in mine,
                    "by_question": document in its,
                    "place": its.get(document, -1),
                    "score": score,
                }
                for document, score in zip(union.tolist(), of.tolist(), strict=True)
            ]
            for union, of, mine, its in zip(unions, scores, map(set, by_rationale), places, strict=True)
        ]
        for candidates in found:
            candidates.sort(key=lambda one: (-one["score"], one["passage_id"]))
        return batch.append_column("candidates", pa.array(found, CANDIDATE_LIST)).select(CANDIDATES.names)

    def _found(self, texts: Sequence[str], counts: np.ndarray, mode: Mode) -> list[np.ndarray]:
        """Documents that each text finds, as many as its count says."""
        most = int(counts.max(initial=0))
        if most == 0:
            return [np.empty(0, np.int64)] * len(texts)
        documents_QK, _ = self.base.search(texts, most, mode)
        cut = (row[:count] for row, count in zip(documents_QK, counts, strict=True))
        return [row[row >= 0].astype(np.int64) for row in cut]

    def _ids(self, unions: Sequence[np.ndarray]) -> dict[int, str]:
        documents = np.unique(np.concatenate(unions)) if unions else np.empty(0, np.int64)
        if not len(documents):
            return {}
        rows = self.base.dataset.take(documents.tolist(), columns=["passage_id"])
        return dict(zip(documents.tolist(), rows["passage_id"].to_pylist(), strict=True))


def find_candidates(
    rows: pa.Table,
    folder: str,
    config: RerankerConfig,
    silver: SilverConfig,
    artifact: Artifact,
    *,
    retrieval: RetrievalConfig,
    version: int | None,
) -> Manifest:
    """Candidate sets of ``rows`` (see :func:`asked`); writes schema CANDIDATES and the texts of their passages.

    ``version`` is that of the knowledge base in ``folder``; None is the newest. Raises UserError when the retriever of
    silver passages has no score for a given passage, or no rationale has a candidate.
    """
    check_retriever(silver, retrieval)
    found = map_resumable(
        rows,
        partial(_find, folder=folder, config=config, silver=silver, retrieval=retrieval, version=version),
        artifact=artifact,
        schema=CANDIDATES,
        id_column="rationale_id",
        label="candidates",
    )
    check_sets(found)
    artifact.write_table(CANDIDATES_FILE, found)
    flat = pc.list_flatten(found["candidates"]).combine_chunks()
    passages = passage_rows(folder, flat.field("passage_id").unique(), version=version)
    artifact.write_table(PASSAGES_FILE, passages)
    return artifact.seal(
        rows={"candidates": found.num_rows, "passages": passages.num_rows},
        counts=_counts(found),
    )


def check_sets(found: pa.Table) -> None:
    """Raise UserError when one side (schema CANDIDATES) has no candidate at all."""
    for split in ("train", "dev"):
        part = found.filter(pc.equal(found["split"], split))
        if not pc.sum(pc.list_value_length(part["candidates"])).as_py():
            raise UserError(
                f"stage candidates: no passage was found for any {split} rationale or its question; look at "
                "retrieval.filter, and whether the knowledge base is about what the questions ask."
            )


def check_retriever(silver: SilverConfig, retrieval: RetrievalConfig) -> None:
    """Raise UserError where every candidate cannot be scored with the rationale."""
    if silver.mode == "hybrid":
        raise UserError(
            "field silver.mode: got hybrid, whose score joins ranks, so passages that the question found have none; a "
            "reranker learns from bm25 or vector."
        )
    if silver.mode == "bm25" and retrieval.bm25_engine == "lancedb":
        raise UserError(
            "field retrieval.bm25_engine: got lancedb, which cannot score the passages that a question found with its "
            "rationale; a reranker learns from memory_mapped."
        )


def _find(
    rows: ray.data.Dataset,
    *,
    folder: str,
    config: RerankerConfig,
    silver: SilverConfig,
    retrieval: RetrievalConfig,
    version: int | None,
) -> ray.data.Dataset:
    return rows.map_batches(
        CandidateFinder,
        fn_constructor_args=(folder, config, silver.mode, retrieval, version),
        batch_format="pyarrow",
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=retrieval.workers),
        num_cpus=1,
    )


def _counts(found: pa.Table) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for split in ("train", "dev"):
        part = found.filter(pc.equal(found["split"], split))
        flat = pc.list_flatten(part["candidates"]).combine_chunks()
        both = pc.and_(flat.field("by_rationale"), flat.field("by_question"))
        counts[split] = {
            "rationales": part.num_rows,
            "questions": len(pc.unique(part["question_id"])),
            "without_candidate": int(pc.sum(pc.equal(pc.list_value_length(part["candidates"]), 0)).as_py()),
            "candidates": len(flat),
            "by_rationale": int(pc.sum(flat.field("by_rationale")).as_py() or 0),
            "by_question": int(pc.sum(flat.field("by_question")).as_py() or 0),
            "by_both": int(pc.sum(both).as_py() or 0),
        }
    return counts


def passage_rows(folder: str, passage_ids: pa.Array, *, version: int | None) -> pa.Table:
    """Schema PASSAGE_TEXTS of the given ids, sorted by id: one pass over the ids of the table, then what is wanted."""
    dataset = lance.dataset(table_uri(folder), version=find_version(folder, version).number)
    places, at = [], 0
    for batch in dataset.to_batches(columns=["passage_id"]):
        mine = pc.is_in(batch["passage_id"], value_set=passage_ids)
        places.append(at + np.flatnonzero(mine.to_numpy(zero_copy_only=False)))
        at += batch.num_rows
    wanted = np.concatenate(places) if places else np.empty(0, np.int64)
    if not len(wanted):
        return PASSAGE_TEXTS.empty_table()
    return (
        dataset.take(wanted.tolist(), columns=PASSAGE_TEXTS.names).cast(PASSAGE_TEXTS).sort_by("passage_id")
    )
