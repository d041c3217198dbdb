from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from kard_ray.runtime.special_tokens import neutralised, token_ids_of_text

TEXTS = st.lists(
    st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endoftext|>", "</s>", "<pad>", "<", "<|", "|>", "a", " ", "é"])
).map("".join)  # fmt: skip


@lru_cache
def load(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(params=["llama_folder", "t5_folder"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return load(request.getfixturevalue(request.param))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_no_special_token_comes_out_of_a_text(tokenizer: Any, text: str) -> None:
    added_by_itself = tokenizer("").input_ids
    specials = set(tokenizer.all_special_ids)
    assert [i for i in token_ids_of_text(tokenizer, text) if i in specials] == added_by_itself
    harmless = tokenizer(neutralised(tokenizer, text), add_special_tokens=False).input_ids
    assert not specials & set(harmless)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_no_character_is_lost(tokenizer: Any, text: str) -> None:
    assert neutralised(tokenizer, text).replace(" ", "") == text.replace(" ", "")
    ids = [i for i in token_ids_of_text(tokenizer, text) if i not in tokenizer.all_special_ids]
    assert tokenizer.decode(ids) == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="<", codec="utf-8")))
def test_ordinary_text_is_left_alone(tokenizer: Any, text: str) -> None:
    assert neutralised(tokenizer, text) == text
    assert token_ids_of_text(tokenizer, text) == tokenizer(text).input_ids


def test_the_tokenizer_still_knows_its_special_tokens_afterwards(tokenizer: Any) -> None:
    token_ids_of_text(tokenizer, "x")
    eos = tokenizer(tokenizer.eos_token, add_special_tokens=False).input_ids
    assert eos == [tokenizer.eos_token_id]


def test_a_special_token_without_a_name_is_opened_too(llama_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    tokenizer.add_tokens("<file>", special_tokens=True)
    assert "<file>" not in tokenizer.all_special_tokens
    assert neutralised(tokenizer, "a <file> b <|im_end|>") == "a < file> b < |im_end|>"


def test_a_token_inside_another_is_opened_too(llama_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    tokenizer.add_tokens(["<s>", "x<s>"], special_tokens=True)
    assert neutralised(tokenizer, "x<s>") == "x < s>"
