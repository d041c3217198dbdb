from __future__ import annotations

from functools import partial
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.reranker.candidate_sets import CandidateSets
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.loss import kl_to_retriever
from kard_ray.reranker.measuring import METRICS, first_stage, hits, measure, ndcg
from kard_ray.reranker.model import Reranker, new_reranker
from tests.reranker.training_cases import tables

LOSS = partial(kl_to_retriever, tau_q=1.0, tau_p=1.0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=25))
def test_ndcg_is_that_of_the_common_tools(gains: list[int]) -> None:
    if not any(gains):
        assert ndcg(np.array(gains)) == 0
        return
    qrels = [ir_measures.Qrel("q", str(at), gain) for at, gain in enumerate(gains)]
    run = [ir_measures.ScoredDoc("q", str(at), float(-at)) for at in range(len(gains))]
    expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
    assert ndcg(np.array(gains)) == pytest.approx(expected, abs=1e-9)


def test_hits_look_at_the_first_k() -> None:
    assert hits([5, 6, 7, 8], [7, 9]) == [0, 1, 1]
    assert hits([5], [5]) == [1, 1, 1]
    assert hits([], [5]) == [0, 0, 0]


class Scores(Reranker):
    """Scores that a test gives."""

    def __init__(self, of: dict[str, float]) -> None:
        torch.nn.Module.__init__(self)
        self.of = of

    def scores(self, query_tokens, passage_tokens):
        raise NotImplementedError

    def score(self, queries, passages, *, batch_tokens=0):
        return [np.array([self.of[text] for text in texts], np.float32) for texts in passages]


def dev() -> CandidateSets:
    return CandidateSets(*tables(), "dev")


def test_what_the_question_did_not_find_counts_as_missed() -> None:
    candidates, passages = tables()
    rows = candidates.to_pylist()
    for row in rows:
        for candidate in row["candidates"][:3]:  # the silver passages
            candidate["place"] = -1
    sets = CandidateSets(pa.Table.from_pylist(rows, schema=candidates.schema), passages, "dev")
    texts = {text: 1.0 for row in range(len(sets)) for text in sets.texts(sets.candidates(row))}
    found = measure(Scores(texts), sets, LOSS, batch_tokens=1000)
    assert found["hits@10"] == 0
    assert first_stage(sets)["reached"] == 0
    assert first_stage(dev())["reached"] == 1


def test_a_reranker_that_knows_nothing_does_not_profit_from_the_order_of_candidates() -> None:
    sets = dev()
    texts = {text: 1.0 for row in range(len(sets)) for text in sets.texts(sets.candidates(row))}
    found = measure(Scores(texts), sets, LOSS, batch_tokens=1000)
    # Equal scores: passages by their ids, so the first one is silver only where chance has it.
    assert found["hits@1"] < 0.7
    assert set(found) == set(METRICS)


def test_the_rationales_own_order_is_the_best() -> None:
    candidates, passages = tables()
    (first, *_) = dev().rationale_ids
    alone = CandidateSets(candidates.filter(pc.equal(candidates["rationale_id"], first)), passages, "dev")
    all_ = alone.candidates(0)
    own = dict(zip(alone.texts(all_), alone.scores(all_).tolist(), strict=True))
    found = measure(Scores(own), alone, LOSS, batch_tokens=1000)
    assert found == pytest.approx({"hits@1": 1, "hits@3": 1, "hits@10": 1, "ndcg": 1, "loss": 0}, abs=1e-6)


def test_measuring_leaves_training_as_it_was(bert_folder: Path) -> None:
    config = RerankerConfig(model=str(bert_folder), max_query_tokens=16, max_passage_tokens=16)
    reranker = new_reranker(config)
    for training in (True, False):
        reranker.train(training)
        first = measure(reranker, dev(), LOSS, batch_tokens=100)
        assert measure(reranker, dev(), LOSS, batch_tokens=5000) == pytest.approx(first, abs=0.02)
        assert reranker.training == training
