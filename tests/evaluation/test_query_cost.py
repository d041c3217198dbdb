from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoTokenizer, MambaConfig

from kard_ray.evaluation.flops import encoder_flops
from kard_ray.evaluation.model_shape import encoder_shape
from kard_ray.evaluation.query_cost import RerankerCost, query_flops
from kard_ray.knowledge.embedding import Embedder, EmbedderConfig
from kard_ray.knowledge.retrieval import KnowledgeBase
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.encoder import Padded
from kard_ray.reranker.model import new_reranker
from kard_ray.reranker.retrieval import Reranking
from kard_ray.reranker.trained import Work
from tests.knowledge.rows import write_base
from tests.tiny_models import tiny_bert


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def flops(folder: Path, tokens: int) -> int:
    return encoder_flops(encoder_shape(AutoConfig.from_pretrained(folder)), tokens)


def test_each_query_counts_with_its_special_tokens_and_prefix(encoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    queries = ["yes", "the area of Chile"]
    lengths = [len(tokenizer(f"query: {query}")["input_ids"]) for query in queries]
    assert query_flops(encoder, queries, prefix="query: ") == [flops(encoder, n) for n in lengths]
    assert query_flops(encoder, []) == []


def test_a_long_query_is_cut_where_the_encoder_cuts_it(encoder: Path) -> None:
    limit = Embedder(EmbedderConfig(model_path=str(encoder), dtype="float32")).model.max_seq_length
    assert query_flops(encoder, ["yes " * 5000]) == [flops(encoder, limit)]


def test_what_cannot_be_counted_is_not_told(tmp_path: Path) -> None:
    MambaConfig().save_pretrained(tmp_path)
    assert query_flops(tmp_path, ["yes"]) is None


@pytest.mark.parametrize("architecture", ["late_interaction", "cross_encoder", "bi_encoder"])
def test_a_rerankers_flops_are_those_that_torch_counts(
    encoder: Path, tmp_path: Path, architecture: Any
) -> None:
    config = RerankerConfig(
        model=str(encoder), architecture=architecture, max_query_tokens=16, max_passage_tokens=32
    )
    new_reranker(config).save(str(tmp_path / "reranker"))
    texts = ["Norway is larger than Chile.", "The area of Norway", "yes"]
    write_base(tmp_path / "base", [[(f"p{at}", "Norway", text) for at, text in enumerate(texts)]])
    reranking = Reranking(KnowledgeBase(str(tmp_path / "base")), str(tmp_path / "reranker"), None, config)
    cost = RerankerCost.of_folder(str(tmp_path / "reranker"))
    assert cost is not None
    question = "Is Norway larger?"
    found, (work,) = reranking.rerank_and_count([question], 3)
    assert found.num_rows == len(work.candidate_tokens) == 3
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    pairs = [len(tokenizer(question, f"Norway\n{text}")["input_ids"]) for text in texts]
    alone = [len(tokenizer(f"Norway\n{text}")["input_ids"]) for text in texts]
    told = [work.query_tokens + each for each in work.candidate_tokens]
    assert sorted(told if architecture == "cross_encoder" else work.candidate_tokens) == sorted(
        pairs if architecture == "cross_encoder" else alone
    )
    model = reranking.model
    model.encoder.model.set_attn_implementation("eager")  # torch does not count the fused kernel of CPUs

    def encoded(tokens: int, *, head: bool = False) -> None:
        one = torch.ones(1, tokens, dtype=torch.long)
        vectors = model.encoder(Padded(one, one))
        if head:
            model.head(vectors)

    counter = FlopCounterMode(display=False)
    query, candidates = work.query_tokens, work.candidate_tokens
    with counter, torch.inference_mode():
        if architecture == "cross_encoder":
            for each in candidates:
                encoded(query + each)
        else:
            for tokens in (query, *candidates):
                encoded(tokens, head=architecture == "late_interaction")
    counted = counter.get_total_flops()
    # The products of vectors, in numpy. One vector's way through the head is not counted.
    if architecture == "late_interaction":
        counted += 2 * cost.dimensions * query * sum(candidates)
    elif architecture == "bi_encoder":
        counted += 2 * cost.dimensions * len(candidates)
    assert cost.flops(work) == counted


def test_candidates_that_were_encoded_before_cost_no_encoding(encoder: Path) -> None:
    shape = encoder_shape(AutoConfig.from_pretrained(encoder), head_weights=32 * 8)
    cost = RerankerCost(architecture="late_interaction", encoder=shape, dimensions=8)
    now = Work(query_tokens=5, candidate_tokens=(7, 9))
    before = Work(query_tokens=5, candidate_tokens=(7, 9), precomputed=True)
    assert cost.flops(now) - cost.flops(before) == encoder_flops(shape, 7) + encoder_flops(shape, 9)
    assert cost.flops(before) == encoder_flops(shape, 5) + 2 * 8 * 5 * 16
