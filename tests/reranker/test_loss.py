"""The losses against plain float64 sums, their gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kard_ray.reranker.loss import cross_entropy, kl_to_retriever

NUMBERS = st.floats(-30, 30)
TEMPERATURES = st.floats(0.3, 50)


@st.composite
def candidates(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """float64 scores, retriever scores and a mask; no row is empty."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    grid = st.lists(st.lists(NUMBERS, min_size=columns, max_size=columns), min_size=rows, max_size=rows)
    mask = torch.tensor(
        [[True] * count + [False] * (columns - count) for count in
         draw(st.lists(st.integers(1, columns), min_size=rows, max_size=rows))]
    )  # fmt: skip
    return torch.tensor(draw(grid), dtype=torch.float64), torch.tensor(draw(grid), dtype=torch.float64), mask


def softmax(values: list[float]) -> list[float]:
    most = max(values)
    weights = [math.exp(value - most) for value in values]
    return [weight / sum(weights) for weight in weights]


def plain_kl(scores: list[float], retriever: list[float], tau_q: float, tau_p: float) -> float:
    q = softmax([value / tau_q for value in retriever])
    most = max(scores) / tau_p
    rest = most + math.log(sum(math.exp(value / tau_p - most) for value in scores))
    return sum(
        weight * (math.log(weight) - (score / tau_p - rest))
        for weight, score in zip(q, scores, strict=True)
        if weight > 0
    )


@given(candidates(), TEMPERATURES, TEMPERATURES)
def test_kl_and_its_gradient_are_those_of_plain_float64(
    given_: tuple[Tensor, Tensor, Tensor], tau_q: float, tau_p: float
) -> None:
    scores, retriever, mask = given_
    scores.requires_grad_()
    losses = kl_to_retriever(scores, retriever, mask, tau_q=tau_q, tau_p=tau_p)
    losses.sum().backward()
    assert scores.grad is not None
    for row, loss in enumerate(losses.tolist()):
        kept = mask[row].tolist()
        mine = [value for value, there in zip(scores[row].tolist(), kept, strict=True) if there]
        its = [value for value, there in zip(retriever[row].tolist(), kept, strict=True) if there]
        assert loss == pytest.approx(plain_kl(mine, its, tau_q, tau_p), rel=1e-9, abs=1e-9)
        assert loss >= -1e-9
        # d KL / d score = (P - Q) / tau_p
        p, q = softmax([v / tau_p for v in mine]), softmax([v / tau_q for v in its])
        expected = [(a - b) / tau_p for a, b in zip(p, q, strict=True)]
        assert scores.grad[row][mask[row]].tolist() == pytest.approx(expected, rel=1e-7, abs=1e-9)
        assert not scores.grad[row][~mask[row]].any()


@pytest.mark.parametrize(
    "loss",
    [
        lambda scores, retriever, mask: kl_to_retriever(scores, retriever, mask, tau_q=0.7, tau_p=1.3),
        lambda scores, retriever, mask: cross_entropy(scores, retriever, mask, tau_p=1.3),
    ],
)
def test_gradients_are_those_of_finite_differences(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    retriever = torch.randn(3, 5, dtype=torch.float64)
    mask = torch.arange(5)[None] < torch.tensor([5, 3, 1])[:, None]
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: loss(s, retriever, mask), (scores,))


@given(candidates(), TEMPERATURES)
def test_what_agrees_with_the_retriever_has_no_kl(given_: tuple[Tensor, Tensor, Tensor], tau: float) -> None:
    _, retriever, mask = given_
    # Scores may be shifted: a softmax does not see it.
    losses = kl_to_retriever(retriever * 2 + 7, retriever, mask, tau_q=tau, tau_p=2 * tau)
    assert losses.abs().max() < 1e-9


@given(candidates(), TEMPERATURES)
def test_cross_entropy_is_of_the_rationales_best(given_: tuple[Tensor, Tensor, Tensor], tau: float) -> None:
    scores, retriever, mask = given_
    losses = cross_entropy(scores, retriever, mask, tau_p=tau)
    for row, loss in enumerate(losses.tolist()):
        count = int(mask[row].sum())
        best = retriever[row, :count].tolist().index(max(retriever[row, :count].tolist()))
        expected = -torch.log_softmax(scores[row, :count] / tau, dim=0)[best]
        assert loss == pytest.approx(float(expected), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    one, mask = torch.zeros(1, 2), torch.tensor([[True, True]])
    with pytest.raises(ValueError, match="above 0"):
        kl_to_retriever(one, one, mask, tau_q=temperature, tau_p=1)
    with pytest.raises(ValueError, match="above 0"):
        kl_to_retriever(one, one, mask, tau_q=1, tau_p=temperature)
    with pytest.raises(ValueError, match="above 0"):
        cross_entropy(one, one, mask, tau_p=temperature)


def test_a_rationale_without_a_candidate_is_refused() -> None:
    two, mask = torch.zeros(2, 1), torch.tensor([[True], [False]])
    with pytest.raises(ValueError, match="no candidate"):
        kl_to_retriever(two, two, mask, tau_q=1, tau_p=1)
