from __future__ import annotations

import copy
import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kard_ray.training.optimizer import MasterAdamW, learning_rate


def parameters(dtype: torch.dtype, *, seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in ((4, 3), (5,))]


def gradient(step: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1000 + step)).to(dtype)


def train(optimizer: MasterAdamW, steps: range, *, lr: float = 1e-3) -> None:
    for step in steps:
        for parameter in optimizer.parameters:
            parameter.grad = gradient(step, parameter.shape, parameter.dtype)
        optimizer.step(lr=lr * (1 + step % 3), max_norm=1.0)


def test_float32_parameters_are_trained_as_torch_does() -> None:
    mine, theirs = parameters(torch.float32), parameters(torch.float32)
    optimizer = MasterAdamW(mine, lr=1e-2, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.1)
    for step in range(20):
        for parameter in (*mine, *theirs):
            parameter.grad = 3 * gradient(step, parameter.shape, parameter.dtype)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        adamw.param_groups[0]["lr"] = 1e-2 / (step + 1)
        adamw.step()
        adamw.zero_grad()
        assert optimizer.step(lr=1e-2 / (step + 1), max_norm=1.0) == pytest.approx(float(expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)
        assert a.grad is None


def test_bfloat16_parameters_follow_their_float32_copies() -> None:
    low, high = parameters(torch.bfloat16), [p.detach().float() for p in parameters(torch.bfloat16)]
    high_parameters = [torch.nn.Parameter(p) for p in high]
    a = MasterAdamW(low, lr=1e-3, weight_decay=0.0)
    b = MasterAdamW(high_parameters, lr=1e-3, weight_decay=0.0)
    for step in range(30):
        for x, y in zip(low, high_parameters, strict=True):
            x.grad = gradient(step, x.shape, torch.bfloat16)
            y.grad = x.grad.float()
        a.step(lr=1e-3, max_norm=1.0)
        b.step(lr=1e-3, max_norm=1.0)
    for x, y in zip(low, high_parameters, strict=True):
        torch.testing.assert_close(x, y.to(torch.bfloat16), rtol=0, atol=0)


def test_many_tiny_updates_of_bfloat16_weights_are_not_lost() -> None:
    plain = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    kept = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    adamw = torch.optim.AdamW([plain], lr=1e-4, weight_decay=0.0)
    optimizer = MasterAdamW([kept], lr=1e-4, weight_decay=0.0)
    for _ in range(500):
        plain.grad, kept.grad = torch.ones_like(plain), torch.ones_like(kept)
        adamw.step()
        optimizer.step(lr=1e-4, max_norm=100.0)
    assert plain.eq(1).all()  # each update is below half of a bfloat16 step at 1
    torch.testing.assert_close(kept.float(), torch.full((8,), 0.95), rtol=0, atol=4e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_training_goes_on_identically_from_the_first_weights(dtype: torch.dtype) -> None:
    whole = parameters(dtype)
    train(MasterAdamW(whole, lr=1e-3, weight_decay=0.01), range(12))

    before = MasterAdamW(parameters(dtype), lr=1e-3, weight_decay=0.01)
    train(before, range(5))
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    state = torch.load(io.BytesIO(file.getvalue()), map_location="cpu", weights_only=True)

    resumed = parameters(dtype)  # a new process loads the model that training began with
    after = MasterAdamW(resumed, lr=1e-3, weight_decay=0.01)
    after.load_state_dict(state)
    train(after, range(5, 12))
    for a, b in zip(whole, resumed, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_mixed_precisions_resume_too_as_lora_has_them() -> None:
    def mixed() -> list[torch.nn.Parameter]:
        return [parameters(torch.bfloat16)[0], parameters(torch.float32)[1]]

    before = MasterAdamW(mixed(), lr=1e-3, weight_decay=0.0)
    train(before, range(3))
    resumed = MasterAdamW(mixed(), lr=1e-3, weight_decay=0.0)
    resumed.load_state_dict(copy.deepcopy(before.state_dict()))
    for a, b in zip(before.parameters, resumed.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_frozen_parameters_are_left_alone() -> None:
    frozen, free = parameters(torch.float32)
    frozen.requires_grad_(False)
    optimizer = MasterAdamW([frozen, free], lr=1e-2, weight_decay=0.1)
    assert optimizer.parameters == [free]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_clipped_and_their_norm_before_is_told(dtype: torch.dtype) -> None:
    parameter = torch.nn.Parameter(torch.zeros(4, dtype=dtype))
    parameter.grad = torch.full((4,), 3.0, dtype=dtype)
    optimizer = MasterAdamW([parameter], lr=1e-3, weight_decay=0.0)
    assert optimizer.step(lr=1e-3, max_norm=1.0) == pytest.approx(6.0)
    assert parameter.grad is None
    momentum = optimizer.adamw.state[optimizer.masters[0]]["exp_avg"]
    torch.testing.assert_close(momentum, torch.full((4,), 0.05), rtol=1e-3, atol=0)  # (1 - beta1) * 3 / 6


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero(
    steps: int, warmup_fraction: float
) -> None:
    rates = [learning_rate(s, steps=steps, peak=2.0, warmup_fraction=warmup_fraction) for s in range(steps)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(2.0)
    assert all(0 < rate <= 2.0 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top + 1 == max(1, round(steps * warmup_fraction))


def test_warm_up_and_decay_are_linear() -> None:
    rates = [learning_rate(s, steps=10, peak=1.0, warmup_fraction=0.2) for s in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
