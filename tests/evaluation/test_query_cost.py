from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer, MambaConfig

from kard_ray.evaluation.flops import encoder_flops
from kard_ray.evaluation.model_shape import encoder_shape
from kard_ray.evaluation.query_cost import query_flops, query_flops_of_model
from kard_ray.knowledge.embedding import Embedder, EmbedderConfig
from tests.tiny_models import tiny_bert


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def flops(folder: Path, tokens: int) -> int:
    return encoder_flops(encoder_shape(AutoConfig.from_pretrained(folder)), tokens)


def test_the_mean_is_over_the_queries_with_their_special_tokens_and_prefix(encoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    queries = ["yes", "the area of Chile"]
    lengths = [len(tokenizer(f"query: {query}")["input_ids"]) for query in queries]
    assert query_flops(encoder, queries, prefix="query: ") == sum(flops(encoder, n) for n in lengths) / 2


def test_a_long_query_is_cut_where_the_encoder_cuts_it(encoder: Path) -> None:
    limit = Embedder(EmbedderConfig(model_path=str(encoder), dtype="float32")).model.max_seq_length
    assert query_flops(encoder, ["yes " * 5000]) == flops(encoder, limit)


def test_what_cannot_be_counted_is_not_told(encoder: Path, tmp_path: Path) -> None:
    assert query_flops(encoder, []) is None
    MambaConfig().save_pretrained(tmp_path)
    assert query_flops(tmp_path, ["yes"]) is None
    assert query_flops_of_model(str(tmp_path / "not there"), ["yes"]) is None
    assert query_flops_of_model(str(encoder), ["yes"]) == query_flops(encoder, ["yes"])
