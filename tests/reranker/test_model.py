"""What all rerankers share: training and use agree, padding says nothing, saving keeps everything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.model import (
    HEAD_FILE,
    SHAPE_FILE,
    Reranker,
    load_reranker,
    new_reranker,
    passage_text,
)
from kard_ray.runtime.errors import UserError

ARCHITECTURES = ("late_interaction", "cross_encoder", "bi_encoder")
QUERIES = ["Which of these is larger?", "Norway or Chile?"]
PASSAGES = [
    [passage_text("Norway", "The population of Norway is 5,509,733."), "The area of Chile is 756,102."],
    ["9 is larger than 4"],
]


def reranker_of(bert_folder: Path, **fields: object) -> Reranker:
    torch.manual_seed(0)
    fields = {"max_query_tokens": 24, "max_passage_tokens": 48, "precision": "fp32"} | fields
    return new_reranker(RerankerConfig(model=str(bert_folder), **fields)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_and_use_give_the_same_scores(bert_folder: Path, architecture: str) -> None:
    reranker = reranker_of(bert_folder, architecture=architecture)
    used = reranker.score(QUERIES, PASSAGES)
    trained = reranker.scores(
        reranker.query_tokens(QUERIES), [reranker.passage_tokens(texts) for texts in PASSAGES]
    )
    assert trained.shape == (2, 2)
    np.testing.assert_allclose(used[0], trained[0].detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(used[1], trained[1, :1].detach(), rtol=1e-4, atol=1e-5)
    assert trained[1, 1] == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_stands_beside_a_passage_does_not_change_its_score(bert_folder: Path, architecture: str) -> None:
    reranker = reranker_of(bert_folder, architecture=architecture)
    together = np.concatenate(reranker.score(QUERIES, PASSAGES))
    alone = [
        reranker.score([query], [[text]], batch_tokens=1)[0][0]
        for query, texts in zip(QUERIES, PASSAGES, strict=True)
        for text in texts
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_saved_reranker_scores_as_before(
    bert_folder: Path, tmp_path: Path, architecture: str, lora_rank: int
) -> None:
    reranker = reranker_of(bert_folder, architecture=architecture, lora_rank=lora_rank)
    with torch.no_grad():
        for parameter in reranker.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    before = reranker.score(QUERIES, PASSAGES)
    reranker.save(str(tmp_path))
    loaded = load_reranker(str(tmp_path))
    assert loaded.config == reranker.config
    for old, new in zip(before, loaded.score(QUERIES, PASSAGES), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-4, atol=1e-5)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".txt"}


@pytest.mark.parametrize(("dropout", "same"), [(0.0, True), (0.5, False)])
def test_the_recipes_dropout_takes_the_place_of_the_encoders_own(
    bert_folder: Path, dropout: float, same: bool
) -> None:
    reranker = reranker_of(bert_folder, dropout=dropout).train()
    queries, passages = reranker.query_tokens(QUERIES), [reranker.passage_tokens(of) for of in PASSAGES]
    once, twice = reranker.scores(queries, passages), reranker.scores(queries, passages)
    assert torch.equal(once, twice) is same


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_sides_learn(bert_folder: Path, architecture: str) -> None:
    """The released code runs the passage side without gradients."""
    reranker = reranker_of(bert_folder, architecture=architecture).train()
    words = reranker.encoder.model.get_input_embeddings().weight
    query, passage = reranker.query_tokens(["larger"]), reranker.passage_tokens(["chile"])
    reranker.scores(query, [passage]).sum().backward()
    assert words.grad is not None
    assert words.grad[query[0]].abs().sum() > 0
    assert words.grad[passage[0]].abs().sum() > 0


def test_with_lora_only_the_adapter_and_the_head_learn(bert_folder: Path) -> None:
    reranker = reranker_of(bert_folder, lora_rank=2)
    learning = [name for name, parameter in reranker.named_parameters() if parameter.requires_grad]
    assert learning
    assert all("lora_" in name or name == "head.weight" for name in learning)


def test_a_question_without_a_passage_is_refused(bert_folder: Path) -> None:
    reranker = reranker_of(bert_folder)
    with pytest.raises(ValueError, match="no passage"):
        reranker.scores([[5], [6]], [[[5]], []])


def test_nothing_random_stands_before_a_sentence_encoder(bert_folder: Path) -> None:
    head = reranker_of(bert_folder).head.weight
    assert torch.equal(head, torch.eye(len(head)))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"max_passage_tokens": 129}, "at most 128"),
        ({"architecture": "cross_encoder", "max_passage_tokens": 128}, "together ask for 152"),
    ],
)
def test_more_tokens_than_the_encoder_reads_are_refused(
    bert_folder: Path, fields: dict[str, object], word: str
) -> None:
    with pytest.raises(UserError, match=word):
        reranker_of(bert_folder, **fields)


def test_a_model_that_writes_text_is_no_encoder(llama_folder: Path, t5_folder: Path) -> None:
    for folder in (llama_folder, t5_folder):
        with pytest.raises(UserError, match="expected a BERT-like encoder"):
            new_reranker(RerankerConfig(model=str(folder)))


def test_what_is_no_reranker_is_told_in_a_sentence(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no reranker"):
        load_reranker(str(tmp_path))
    reranker_of(bert_folder).save(str(tmp_path))
    shape = json.loads((tmp_path / SHAPE_FILE).read_text())
    (tmp_path / SHAPE_FILE).write_text(json.dumps(shape | {"format": 99}))
    with pytest.raises(UserError, match="has format 99"):
        load_reranker(str(tmp_path))
    (tmp_path / SHAPE_FILE).write_text("[]")
    with pytest.raises(UserError, match="is damaged"):
        load_reranker(str(tmp_path))
    (tmp_path / SHAPE_FILE).write_text(json.dumps(shape))
    (tmp_path / HEAD_FILE).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cannot be read.*train it again"):
        load_reranker(str(tmp_path))


def test_a_passage_without_a_title_is_its_text() -> None:
    assert passage_text("", "words") == "words"
    assert passage_text("Chad", "words") == "Chad\nwords"
