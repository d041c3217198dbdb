from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from kard_ray.evaluation.predict import SEARCHES_TABLE
from kard_ray.evaluation.search_cost import NOTHING, SearchCost, search_costs


def searches(*rows: tuple[str, str, float | None, float | None]) -> pa.Table:
    """(prediction, source, retriever, reranker) of each round."""
    named: list[dict[str, Any]] = [
        {
            "prediction_id": name, "source": source, "round": 1, "query": "?", "passage_ids": [],
            "retriever_flops": retriever, "reranker_flops": reranker,
        }
        for name, source, retriever, reranker in rows
    ]  # fmt: skip
    return pa.Table.from_pylist(named, schema=SEARCHES_TABLE)


def test_all_rounds_of_a_question_cost() -> None:
    found = search_costs(
        searches(
            ("a", "hybrid:2", 10, 0), ("a", "hybrid:2", 30, 0), ("b", "hybrid:2", 20, 4), ("c", "bm25", 0, 0)
        ),
        {"none": 2, "silver": 2, "hybrid:2": 2, "bm25": 2},
    )
    assert found == {
        "none": NOTHING, "silver": NOTHING, "hybrid:2": SearchCost(30, 2), "bm25": NOTHING,
    }  # fmt: skip


@pytest.mark.parametrize("unknown", [(None, 0.0), (0.0, None)])
def test_one_search_that_was_not_counted_leaves_the_source_out(unknown: tuple[Any, Any]) -> None:
    table = searches(("a", "reranker", 1, 1), ("b", "reranker", *unknown), ("c", "reranker", 1, 1))
    assert search_costs(table, {"reranker": 3, "none": 3}) == {"none": NOTHING}


def test_predictions_that_wrote_no_searches_down_are_known_where_they_cost_nothing() -> None:
    assert search_costs(None, {"none": 1, "bm25": 1, "vector": 1, "silver": 1}) == dict.fromkeys(
        ("none", "bm25", "silver"), NOTHING
    )
