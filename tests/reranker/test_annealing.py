from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.reranker.annealing import annealed, last_temperatures, temperatures
from kard_ray.reranker.config import RerankerConfig

ENDS = st.floats(1e-6, 1e6)


@given(ENDS, ENDS, st.integers(1, 10_000), st.data())
def test_no_temperature_leaves_the_range_between_its_ends(
    first: float, last: float, steps: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, steps))
    value = annealed(first, last, step=step, steps=steps)
    assert 0 < min(first, last) * (1 - 1e-9) <= value <= max(first, last) * (1 + 1e-9)


def test_the_first_step_has_the_first_temperature_and_the_last_the_last() -> None:
    assert annealed(500, 100, step=0, steps=200) == 500
    assert annealed(500, 100, step=200, steps=200) == pytest.approx(100, rel=1e-3)
    found = [annealed(500, 100, step=step, steps=200) for step in range(201)]
    assert found == sorted(found, reverse=True)


def test_without_annealing_temperatures_stay() -> None:
    config = RerankerConfig(annealing=False, rationale_temperature=3, question_temperature=4)
    assert temperatures(config, step=7, steps=10) == (3, 4) == last_temperatures(config)
    config = RerankerConfig(
        rationale_temperature=5,
        last_rationale_temperature=1,
        question_temperature=2,
        last_question_temperature=3,
    )
    assert temperatures(config, step=0, steps=10) == (5, 2)
    assert temperatures(config, step=10, steps=10) == pytest.approx(last_temperatures(config), rel=1e-3)
