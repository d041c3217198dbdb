from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kard_ray.reranker.config import RerankerConfig


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"by_rationale": 4, "by_question": 3},
            r"candidates_per_step is 8, but there are at most .* = 7 candidates; lower",
        ),
        ({"by_rationale": 4, "by_question": 0}, "candidates_per_step is 8, but there are at most .* = 4"),
        ({"architecture": "cross_encoder", "dimensions": 8}, "dimensions is 8, but a cross_encoder has no"),
        ({"last_question_temperature": 0}, "greater than 0"),
        ({"last_rationale_temperature": -1}, "greater than 0"),
        ({"candidates_per_step": 1}, "greater than or equal to 2"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RerankerConfig(**fields)
    RerankerConfig(by_rationale=8, by_question=0)


def test_each_field_decides_candidates_or_training_or_how_it_is_done() -> None:
    config = RerankerConfig()
    candidates, training = config.candidates_content(), config.training_content()
    assert candidates.keys() & training.keys() == {"seed"}
    assert candidates.keys() | training.keys() == RerankerConfig.model_fields.keys() - config.EXECUTION
    assert {"depth", "vector_dtype"} <= config.EXECUTION  # a trained reranker stays the same
