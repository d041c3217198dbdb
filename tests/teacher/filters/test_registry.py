from __future__ import annotations

from typing import Any

import pytest

from kard_ray.recipe import parse_recipe
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.teacher.filters.base import Filter, GroupFilter, ModelFilter
from kard_ray.teacher.filters.duplicates import Duplicates
from kard_ray.teacher.filters.length import Length
from kard_ray.teacher.filters.registry import FilterSpec, filters_named

NAMES = list(FilterSpec.model_fields)


class Entries(Frozen):
    filters: tuple[FilterSpec, ...]


def mistakes(entries: list[Any]) -> list[str]:
    tree = {
        "name": "r",
        "knowledge": {"corpus": {"kind": "jsonl", "path": "corpus.jsonl"}},
        "teacher": {"filters": entries},
    }
    with pytest.raises(UserError) as error:
        parse_recipe(tree, where="recipe r")
    return str(error.value).split("\n")


def test_filters_come_in_the_order_asked_for() -> None:
    assert [check.name for check in filters_named(["supported", "concludes"])] == ["supported", "concludes"]
    assert filters_named([]) == []


def test_every_name_of_a_recipe_has_a_filter_of_that_name_and_of_one_kind() -> None:
    found = filters_named(NAMES)
    assert [check.name for check in found] == NAMES
    assert all(sum(isinstance(it, kind) for kind in (Filter, GroupFilter, ModelFilter)) == 1 for it in found)


def test_an_entry_is_a_name_or_a_name_with_settings() -> None:
    entries = Entries(filters=["concludes", {"length": {"min_words": 7}}, {"duplicates": None}])  # type: ignore[list-item]
    concludes, length, duplicates = filters_named(entries.filters)
    assert concludes == filters_named(["concludes"])[0]
    assert length == Length(min_words=7)
    assert duplicates == Duplicates()
    strict, loose = filters_named(
        [FilterSpec.model_validate({"concludes": {"min_words": words}}) for words in (9, 1)]
    )
    assert strict != loose


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_of_an_entry_reads_back_as_it(name: str) -> None:
    entries = Entries(filters=[name])  # type: ignore[list-item]
    plain = entries.model_dump(mode="json")
    assert list(plain["filters"][0]) == [name]
    assert Entries.model_validate(plain) == entries


def test_how_fast_a_verifier_works_is_no_part_of_what_is_kept() -> None:
    def content(**settings: Any) -> dict[str, Any]:
        return FilterSpec.model_validate({"verifier": settings}).content()

    assert content(replicas=3, batch_tokens=9, gpus_per_replica=1) == content()
    assert content(model="org/other") != content()
    assert FilterSpec.model_validate("concludes").content() == {"concludes": {"min_words": 4}}


def test_every_mistake_of_a_recipe_is_told_with_its_place() -> None:
    found = mistakes(
        ["lenght", {"length": {"min_words": -1}}, {"length": {"words": 3}}, {"length": {}, "refusal": {}}]
    )
    assert found[0].startswith(
        "recipe r, field teacher.filters.0: got 'lenght', but there is no filter 'lenght'"
    )
    assert "true_comparisons" in found[0]
    assert found[1].startswith("recipe r, field teacher.filters.1.length.min_words: got -1, but ")
    assert found[2].startswith("recipe r, field teacher.filters.2.length.words: there is no such field")
    assert found[3].startswith(
        "recipe r, field teacher.filters.3: got 'a group of fields', but expected one of "
    )
    assert len(found) == 4


@pytest.mark.parametrize(
    "entry", [3, {}, {"concludes": {"name": "x"}}, {"concludes": {"min": 1}}, {"length": 7}]
)
def test_an_entry_that_is_no_filter_is_refused(entry: Any) -> None:
    (mistake,) = mistakes([entry])
    assert "teacher.filters.0" in mistake


def test_an_unknown_name_is_a_user_error_outside_a_recipe_too() -> None:
    with pytest.raises(UserError, match="there is no filter 'x'"):
        filters_named(["x"])
