from __future__ import annotations

from typing import get_args

from kard_ray.teacher.filters.registry import FilterName, filters_named


def test_filters_come_in_the_order_asked_for() -> None:
    assert [check.name for check in filters_named(["supported", "concludes"])] == ["supported", "concludes"]
    assert filters_named([]) == []


def test_every_name_of_a_recipe_has_a_filter_of_that_name() -> None:
    names = get_args(FilterName)
    assert [check.name for check in filters_named(names)] == list(names)
