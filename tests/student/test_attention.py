"""Packed rows: the same loss and gradient as alone, and no token sees another row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
)

from kard_ray.student.attention import allow_packing, unpacked
from kard_ray.student.batching import collate, pack
from kard_ray.student.loss import target_loss

PAD = 2
IDS = st.lists(st.integers(3, 60), min_size=1, max_size=40)
ROWS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6)

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100}
ATTENTION = {"intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}

_models: dict[bool, Any] = {}


def model_of(folder: Path, *, checkpointing: bool = False) -> Any:
    """The tiny Llama, able to read packs; loaded once."""
    if checkpointing not in _models:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        assert allow_packing(model)
        _models[checkpointing] = model.train()
    return _models[checkpointing]


def loss_and_gradients(model: Any, batches: list[Any]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = sum(target_loss(model, batch) for batch in batches)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("checkpointing", [False, True])
@given(rows=ROWS)
@settings(max_examples=25)
def test_a_pack_has_the_loss_and_the_gradient_of_its_rows(
    llama_folder: Path, checkpointing: bool, rows: list[tuple[list[int], list[int]]]
) -> None:
    model = model_of(llama_folder, checkpointing=checkpointing)
    loss, found = loss_and_gradients(model, [pack(rows, pad=PAD)])
    alone, expected = loss_and_gradients(model, [collate([row], pad=PAD) for row in rows])
    assert loss == pytest.approx(alone, rel=1e-5)
    for name, gradient in expected.items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize("lengths", [(7,), (90, 5, 33), (600, 40)])  # above 512 tokens it is PyTorch's kernel
def test_in_bfloat16_rows_attend_as_they_do_in_float32(lengths: tuple[int, ...]) -> None:
    config = Qwen2Config(**SMALL, **ATTENTION | {"num_attention_heads": 4})
    torch.manual_seed(0)
    exact = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    coarse = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    coarse.load_state_dict(exact.state_dict())
    exact.load_state_dict(coarse.state_dict())  # the same rounded weights
    rows = [
        ([(3 + 7 * at + n) % 97 for at in range(length - 2)], [44, 2]) for n, length in enumerate(lengths)
    ]
    found = []
    for model in (exact, coarse):
        assert allow_packing(model.train())
        found.append(loss_and_gradients(model, [pack(rows, pad=PAD)]))
    (loss, gradients), (coarse_loss, coarse_gradients) = found
    assert coarse_loss == pytest.approx(loss, rel=0.02)
    for name, gradient in gradients.items():
        if "k_proj.bias" in name:  # adds the same to every score of a query: its gradient is 0, and rounding
            continue
        apart = (coarse_gradients[name].float() - gradient).norm() / gradient.norm()
        assert apart < 0.05, name


@given(rows=ROWS, data=st.data())
@settings(max_examples=25)
def test_no_token_attends_across_a_boundary(
    llama_folder: Path, rows: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    model = model_of(llama_folder)
    batch = pack(rows, pad=PAD)
    assert batch.place_BL is not None
    one = data.draw(st.integers(0, len(batch.row_lengths) - 1))
    start = sum(batch.row_lengths[:one])
    own = slice(start, start + batch.row_lengths[one])
    outputs = []
    for shift in (0, 1):
        ids = batch.input_BL + shift  # every token of every other row is another one
        ids[:, own] = batch.input_BL[:, own]
        with torch.no_grad():
            outputs.append(
                model(
                    input_ids=ids, position_ids=batch.place_BL, row_lengths=batch.row_lengths, use_cache=False
                ).logits[0, own]
            )
    assert torch.equal(*outputs)


@given(rows=ROWS)
def test_a_pack_holds_every_row_once_and_its_places_begin_anew(
    rows: list[tuple[list[int], list[int]]],
) -> None:
    batch = pack(rows, pad=PAD)
    assert batch.place_BL is not None
    assert sum(batch.row_lengths) == batch.input_BL.shape[1]
    split = batch.input_BL[0].split(batch.row_lengths)
    assert [ids.tolist() for ids in split[: len(rows)]] == [p + t for p, t in rows]
    assert all(set(ids.tolist()) == {PAD} for ids in split[len(rows) :])
    assert [p.tolist() for p in batch.place_BL[0].split(batch.row_lengths)] == [
        list(range(n)) for n in batch.row_lengths
    ]
    labels = [token for _, target in rows for token in target]
    assert batch.input_BL[0][batch.position_N[: len(labels)] + 1].tolist() == labels
    whole = sum(len(p) + len(t) for p, t in rows)
    assert batch.input_BL.shape[1] < max(whole + 8, 17 / 16 * whole + 1)


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=100, bos_token_id=1, eos_token_id=2),
        OPTConfig(**SMALL, ffn_dim=64, num_attention_heads=2, word_embed_proj_dim=32),
        Qwen2Config(**SMALL, **ATTENTION),
    ],
    ids=lambda config: config.model_type,
)
def test_other_decoders_read_packs_too(config: Any) -> None:
    model = AutoModelForCausalLM.from_config(config).eval()
    assert allow_packing(model)
    rows = [([5, 9, 30], [44, 2]), ([6, 7, 8, 9], [8, 2]), ([11], [12, 2])]
    with torch.no_grad():
        packed = target_loss(model, pack(rows, pad=PAD))
        alone = sum(target_loss(model, collate([row], pad=PAD)) for row in rows)
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [MistralConfig(**SMALL, **ATTENTION, sliding_window=4), MambaConfig(**SMALL)],
    ids=lambda config: config.model_type,
)
def test_a_model_with_a_window_or_a_state_is_left_as_it_was(config: Any) -> None:
    model = AutoModelForCausalLM.from_config(config)
    before = model.config._attn_implementation
    assert not allow_packing(model)
    assert model.config._attn_implementation == before


def test_an_encoder_decoder_is_not_packed(t5_folder: Path) -> None:
    assert not allow_packing(AutoModelForSeq2SeqLM.from_pretrained(t5_folder))


def test_a_lora_student_reads_packs(llama_folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    assert allow_packing(model)
    rows = [([5, 9, 30], [44, 2]), ([6, 7, 8, 9], [8, 2])]
    alone = sum(target_loss(model, collate([row], pad=PAD)) for row in rows)
    torch.testing.assert_close(target_loss(model, pack(rows, pad=PAD)), alone, rtol=1e-5, atol=1e-5)


def test_a_student_that_reads_packs_still_generates_behind_padding(llama_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32).eval()
    asked = {
        "input_ids": torch.tensor([[PAD, PAD, 5, 9], [30, 31, 7, 8]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
    }
    expected = model.generate(**asked, max_new_tokens=6, do_sample=False)
    assert allow_packing(model)
    with unpacked(model):
        found = model.generate(**asked, max_new_tokens=6, do_sample=False)
    assert torch.equal(found, expected)
    assert model.config._attn_implementation == "kard_ray_rows"
