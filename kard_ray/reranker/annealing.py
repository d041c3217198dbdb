"""Temperatures that fall during training, from their first to their last values (KARD's code).

The code subtracts fixed amounts, which takes its own defaults below zero. Here both ends are named, and every value
lies between them.
"""

from __future__ import annotations

import math

from kard_ray.reranker.config import RerankerConfig


def annealed(first: float, last: float, *, step: int, steps: int) -> float:
    """The temperature of ``step`` (from 0) of ``steps``: first + (last - first) a(s), a(s) = 2 / (1 + e^(-10 s/S)) - 1.

    a goes from 0 to 0.9999, and half of the way is behind after a ninth of the steps.
    """
    return first + (last - first) * (2.0 / (1.0 + math.exp(-10.0 * step / steps)) - 1.0)


def temperatures(config: RerankerConfig, *, step: int, steps: int) -> tuple[float, float]:
    """(τ1, τ2) of ``step``: of the rationale's scores and of the reranker's."""
    if not config.annealing:
        return config.rationale_temperature, config.question_temperature
    return (
        annealed(config.rationale_temperature, config.last_rationale_temperature, step=step, steps=steps),
        annealed(config.question_temperature, config.last_question_temperature, step=step, steps=steps),
    )


def last_temperatures(config: RerankerConfig) -> tuple[float, float]:
    """(τ1, τ2) at the end: held-out questions are measured with them at any time."""
    if not config.annealing:
        return config.rationale_temperature, config.question_temperature
    return config.last_rationale_temperature, config.last_question_temperature
