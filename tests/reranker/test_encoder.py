from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from kard_ray.reranker.encoder import by_length, load_encoder
from kard_ray.runtime.errors import UserError


@given(lengths=st.lists(st.integers(0, 50), max_size=40), budget=st.integers(1, 200))
def test_every_text_is_in_one_batch_and_batches_keep_to_their_size(lengths: list[int], budget: int) -> None:
    batches = list(by_length(lengths, budget))
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= budget


def test_special_tokens_stand_as_the_tokenizer_puts_them(bert_folder: Path) -> None:
    encoder = load_encoder(str(bert_folder), dtype=torch.float32)
    first, second = "norway is larger", "a a 4"
    plain = encoder.tokens([first, second], 64)
    one = encoder.single(plain)
    assert one.id_NL[0][one.mask_NL[0] == 1].tolist() == encoder.tokenizer(first)["input_ids"]
    both = encoder.pairs([(plain[0], plain[1])])
    expected = encoder.tokenizer(first, second, return_token_type_ids=True)
    length = len(expected["input_ids"])
    assert both.mask_NL[0].tolist() == [1] * length + [0] * (both.id_NL.shape[1] - length)
    assert both.id_NL[0, :length].tolist() == expected["input_ids"]
    assert both.type_NL is not None
    assert both.type_NL[0, :length].tolist() == expected["token_type_ids"]


def test_a_limit_counts_special_tokens_and_padding_stays_within_the_encoders_positions(
    bert_folder: Path,
) -> None:
    encoder = load_encoder(str(bert_folder), dtype=torch.float32)
    (ids,) = encoder.tokens(["larger " * 50], 10)
    assert encoder.single([ids]).mask_NL.sum() == 10
    assert encoder.single([ids]).id_NL.shape == (1, 16)
    long = encoder.single(encoder.tokens(["larger " * 500], 121))
    assert long.id_NL.shape == (1, 128)
    assert long.mask_NL.sum() == 121


def test_an_encoder_without_all_of_its_weights_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(bert_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["embeddings.word_embeddings.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks weights"):
        load_encoder(str(folder), dtype=torch.float32)
