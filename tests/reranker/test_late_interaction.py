from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.late_interaction import LateInteraction, max_sim, max_sim_of
from kard_ray.reranker.model import new_reranker


def late_interaction(bert_folder: Path, **fields: object) -> LateInteraction:
    torch.manual_seed(0)
    fields = {"max_query_tokens": 24, "max_passage_tokens": 48, "precision": "fp32"} | fields
    reranker = new_reranker(RerankerConfig(model=str(bert_folder), **fields))  # type: ignore[arg-type]
    assert isinstance(reranker, LateInteraction)
    return reranker.eval()


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    query=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_the_score_is_the_sum_of_each_tokens_best_match(lengths: list[int], query: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query_QD = rng.normal(size=(query, 3)).astype(np.float32)
    passages = [rng.normal(size=(length, 3)).astype(np.float32) for length in lengths]
    expected = [sum(max(float(q @ p) for p in of) for q in query_QD) for of in passages]
    np.testing.assert_allclose(max_sim_of(query_QD, passages), expected, rtol=1e-4, atol=1e-5)

    longest = max(lengths)
    passage_NPD = torch.full((len(lengths), longest, 3), 1e6)  # padding that would win if it were seen
    mask_NP = torch.zeros(len(lengths), longest)
    for row, of in enumerate(passages):
        passage_NPD[row, : len(of)], mask_NP[row, : len(of)] = torch.from_numpy(of), 1
    query_NQD = torch.full((len(lengths), query + 2, 3), 1e6)
    query_NQD[:, :query] = torch.from_numpy(query_QD)
    query_mask_NQ = torch.zeros(len(lengths), query + 2)
    query_mask_NQ[:, :query] = 1
    found = max_sim(query_NQD, query_mask_NQ, passage_NPD, mask_NP)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_scores_follow_from_the_vectors_of_both_sides(bert_folder: Path) -> None:
    reranker = late_interaction(bert_folder)
    passages = ["Norway is larger", "The area of Chile is 756,102 square kilometres.", "9"]
    (query_QD,) = reranker.encode_queries(["Which is larger?"])
    encoded = reranker.encode_passages(passages)
    np.testing.assert_allclose(
        max_sim_of(query_QD, encoded), reranker.score(["Which is larger?"], [passages])[0], rtol=1e-5
    )


@pytest.mark.parametrize("normalised", [True, False])
def test_vectors_have_length_one_if_asked_for(bert_folder: Path, normalised: bool) -> None:
    reranker = late_interaction(bert_folder, normalised=normalised, dimensions=8)
    vectors = np.concatenate(reranker.encode_passages(["Norway is larger", "4"]))
    assert vectors.shape[1] == 8
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5) == normalised


def test_a_text_has_a_vector_for_every_token_and_two_special_ones(bert_folder: Path) -> None:
    reranker = late_interaction(bert_folder)
    texts = ["", "larger", "word " * 100]
    assert [len(of) for of in reranker.encode_queries(texts)] == [2, 3, 24]
    assert [len(of) for of in reranker.encode_passages(texts)] == [2, 3, 48]
    assert reranker.encode_passages([]) == []
    assert reranker.score(["larger"], [[]])[0].shape == (0,)
