"""Settings that contradict each other are refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kard_ray.runtime.errors import UserError
from kard_ray.serve import require_served
from kard_ray.serving.config import ServingConfig, is_loopback

TWO = [{"name": "a", "method": "kard"}, {"name": "b", "method": "finetune"}]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"auth": False, "host": "0.0.0.0"}, "which others can reach"),
        ({"students": [*TWO, TWO[0]]}, "a name twice"),
        ({"students": [{"name": "default"}]}, "stands for any"),
        ({"students": TWO, "traffic": {"c": 1}}, "traffic names c"),
        ({"students": TWO, "shadow": "c"}, "shadow names c"),
        ({"students": TWO, "traffic": {"a": 0}}, "gives no student anything"),
        ({"student": {"min_replicas": 3, "max_replicas": 2}}, "below min_replicas"),
        ({"students": [{"name": "../a"}]}, "should match pattern"),
    ],
)
def test_contradictions(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ServingConfig.model_validate(fields)


@pytest.mark.parametrize("fields", [{"traffic": {"kard": 1, "b": 1}}, {"shadow": "b"}])
def test_shares_of_students_that_are_not_served_are_refused(fields: dict[str, Any]) -> None:
    config = ServingConfig.model_validate(fields)  # without students, which are then the run's
    with pytest.raises(UserError, match=f"serving.{next(iter(fields))}: got b, but what is served is kard"):
        require_served(config, ["kard"])
    require_served(config, ["kard", "b"])


def test_what_is_this_machine_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]", "::ffff:127.0.0.1")))
    others = ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "", "::ffff:10.0.0.1")
    assert not any(map(is_loopback, others))
