"""What the reranker learns by: KARD's KL divergence, or cross-entropy on the rationale's best candidate.

Shape letters: B rationales, C candidates of each, padded.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_to_retriever(
    score_BC: Tensor, retriever_BC: Tensor, mask_BC: Tensor, *, tau_q: float, tau_p: float
) -> Tensor:
    """``[B]``: KL(Q || P) of each row's candidates, in nats (KARD, section 3.2).

    Q = softmax(retriever / tau_q), ``retriever_BC`` scored with the rationale; P = softmax(score / tau_p), ``score_BC``
    given by the reranker for the question. Masked candidates (False) have probability 0 in both. Raises ValueError if
    a temperature is not positive or a row has no candidate.
    """
    _check(mask_BC, tau_q, tau_p)
    log_q_BC = _log_softmax(retriever_BC / tau_q, mask_BC)
    log_p_BC = _log_softmax(score_BC / tau_p, mask_BC)
    # Where the mask is False both are 0, and so is what they add; exp(0) = 1 there would be wrong without the mask.
    q_BC = log_q_BC.exp() * mask_BC
    return (q_BC * (log_q_BC - log_p_BC)).sum(dim=1)


def cross_entropy(score_BC: Tensor, retriever_BC: Tensor, mask_BC: Tensor, *, tau_p: float) -> Tensor:
    """``[B]``: -log P(the candidate that the rationale scores best), in nats; of several best ones the first.

    What the released code trains with. Errors as :func:`kl_to_retriever`.
    """
    _check(mask_BC, tau_p)
    best_B = retriever_BC.masked_fill(~mask_BC, float("-inf")).argmax(dim=1)
    log_p_BC = _log_softmax(score_BC / tau_p, mask_BC)
    return -log_p_BC.gather(1, best_B[:, None])[:, 0]


def _check(mask_BC: Tensor, *temperatures: float) -> None:
    if min(temperatures) <= 0:
        raise ValueError(f"temperatures must be above 0, got {', '.join(map(str, temperatures))}")
    if not bool(mask_BC.any(dim=1).all()):
        raise ValueError("a rationale has no candidate")


def _log_softmax(value_BC: Tensor, mask_BC: Tensor) -> Tensor:
    """Over the candidates that the mask leaves; 0 at the others, which get no gradient."""
    log_BC = torch.log_softmax(value_BC.masked_fill(~mask_BC, float("-inf")), dim=1)
    return log_BC.masked_fill(~mask_BC, 0.0)
