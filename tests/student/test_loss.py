from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kard_ray.student.batching import Batch, SourceTarget, collate, collate_source_target
from kard_ray.student.loss import target_loss

PAD = 2
ROWS = [
    ([5, 9, 30, 31, 7, 8, 100], [44, 45, 2]),
    ([6], [50, 51, 52, 53, 54, 2]),
    ([12, 13, 14], [2]),
    ([9, 9, 9, 9], [60, 2, 61, 2]),  # the pad token is also EOS, and may be a label
]


@pytest.fixture
def llama(llama_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)


@pytest.fixture
def t5(t5_folder: Path) -> Any:
    return AutoModelForSeq2SeqLM.from_pretrained(t5_folder, dtype=torch.float32).eval()


def reference(model: Any, prompt: list[int], target: list[int]) -> Tensor:
    """-log p of ``target``: one row, no padding, the whole output layer, one token after the other."""
    log_p = model(input_ids=torch.tensor([prompt + target])).logits[0].double().log_softmax(-1)
    return -sum(log_p[len(prompt) + t - 1, token] for t, token in enumerate(target))


def encoder_decoder_reference(model: Any, source: list[int], target: list[int]) -> Tensor:
    """-log p of ``target`` given ``source``: one row, no padding."""
    begun = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
    logits = model(input_ids=torch.tensor([source]), decoder_input_ids=begun).logits[0]
    return -logits.double().log_softmax(-1)[range(len(target)), target].sum()


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_loss_is_the_unpadded_one_in_float64(llama: Any) -> None:
    loss = target_loss(llama, collate(ROWS, pad=PAD))
    assert loss.dtype == torch.float32
    expected = sum(reference(llama.double(), *row) for row in ROWS)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_the_unpadded_one_in_float64(llama: Any) -> None:
    found = gradients(llama, target_loss(llama, collate(ROWS, pad=PAD)))
    llama.double()
    expected = gradients(llama, sum(reference(llama, *row) for row in ROWS))
    assert found.keys() == expected.keys()
    for name in found:
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(
            found[name].double(), expected[name], rtol=1e-3, atol=1e-4 * scale, msg=name
        )


def test_the_loss_of_a_batch_is_the_sum_over_its_rows_in_any_division(llama: Any) -> None:
    whole = target_loss(llama, collate(ROWS, pad=PAD))
    parts = [target_loss(llama, collate(part, pad=PAD)) for part in (ROWS[:1], ROWS[1:3], ROWS[3:])]
    torch.testing.assert_close(whole, sum(parts), rtol=1e-5, atol=1e-5)


def test_the_prompt_is_read_but_not_learnt(llama: Any) -> None:
    prompt, target = ROWS[0]
    other = [prompt[0] + 1, *prompt[1:]]
    losses = [target_loss(llama, collate([(p, target)], pad=PAD)) for p in (prompt, other)]
    assert losses[0] != losses[1]
    untrained = torch.log(torch.tensor(float(llama.config.vocab_size)))
    longer = target_loss(llama, collate([(prompt * 5, target)], pad=PAD))
    assert longer < 2 * len(target) * untrained  # a loss over the prompt would be 12 times as large


def test_the_output_layer_sees_only_what_predicts_a_target_token_and_is_left_as_it_was(llama: Any) -> None:
    seen: list[torch.Size] = []
    layer = llama.get_output_embeddings()
    layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    target_loss(llama, collate(ROWS, pad=PAD))
    llama(input_ids=torch.tensor([[5, 6, 7]]))
    width = llama.config.hidden_size
    assert seen == [(1, 64, width), (1, 3, width)]  # 14 target tokens, rounded up


def test_the_pad_token_makes_no_difference(llama: Any) -> None:
    losses = [target_loss(llama, collate(ROWS, pad=pad)) for pad in (0, 2, 99)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-5, atol=1e-5)


def test_an_encoder_decoder_has_the_same_loss_without_padding_in_float64(t5: Any) -> None:
    rows = [([5, 9, 30, 1], [44, 45, 1]), ([6, 1], [50, 51, 52, 53, 1]), ([12, 13, 14, 15, 16, 1], [1])]
    loss = target_loss(t5, collate_source_target(rows, pad=0))
    t5.double()
    expected = sum(encoder_decoder_reference(t5, *row) for row in rows)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)


def test_an_encoder_decoder_gets_the_unpadded_gradient(t5: Any) -> None:
    rows = [([5, 9, 30, 1], [44, 45, 1]), ([6, 1], [50, 51, 52, 53, 1])]
    found = gradients(t5, target_loss(t5, collate_source_target(rows, pad=0)))
    t5.double()
    expected = gradients(t5, sum(target_loss(t5, collate_source_target([row], pad=0)) for row in rows))
    for name in found:
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(
            found[name].double(), expected[name], rtol=1e-3, atol=1e-4 * scale, msg=name
        )


WEIGHTS = [0.7, 0.3, 1.0, 0.0]
SOURCES = [
    ([5, 9, 30, 1], [44, 45, 1]),
    ([6, 1], [50, 51, 52, 53, 1]),
    ([12, 13, 14, 1], [1]),
    ([7, 1], [8, 1]),
]


def micro_batches_of(model: Any, weights: list[float] | None, *sizes: int) -> list[Batch | SourceTarget]:
    """All rows with their weights, in micro-batches of ``sizes`` rows."""
    encoder_decoder = model.config.is_encoder_decoder
    rows, kind = (SOURCES, collate_source_target) if encoder_decoder else (ROWS, collate)
    parts, at = [], 0
    for size in sizes:
        chosen = None if weights is None else weights[at : at + size]
        parts.append(kind(rows[at : at + size], pad=0 if encoder_decoder else PAD, weights=chosen))
        at += size
    assert at == len(rows)
    return parts


@pytest.fixture(params=["llama", "t5"])
def model(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("sizes", [(4,), (1, 3), (2, 2), (1, 1, 1, 1)])
def test_weighted_rows_have_the_weighted_loss_and_gradient_in_float64(
    model: Any, sizes: tuple[int, ...]
) -> None:
    loss = sum(target_loss(model, part) for part in micro_batches_of(model, WEIGHTS, *sizes))
    found = gradients(model, loss)
    model.double()
    if model.config.is_encoder_decoder:
        alone = [encoder_decoder_reference(model, *row) for row in SOURCES]
    else:
        alone = [reference(model, *row) for row in ROWS]
    expected = sum(weight * value for weight, value in zip(WEIGHTS, alone, strict=True))
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients(model, expected).items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(found[name].double(), gradient, rtol=1e-3, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("sizes", [(4,), (1, 3)])
def test_weights_of_one_change_no_bit(model: Any, sizes: tuple[int, ...]) -> None:
    without = [target_loss(model, part) for part in micro_batches_of(model, None, *sizes)]
    ones = [target_loss(model, part) for part in micro_batches_of(model, [1.0] * 4, *sizes)]
    assert [loss.item() for loss in ones] == [loss.item() for loss in without]
    expected, found = gradients(model, sum(without)), gradients(model, sum(ones))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_equal_weights_are_a_factor_of_the_loss(model: Any) -> None:
    (whole,) = micro_batches_of(model, None, 4)
    (halves,) = micro_batches_of(model, [0.5] * 4, 4)
    torch.testing.assert_close(target_loss(model, halves), 0.5 * target_loss(model, whole))
