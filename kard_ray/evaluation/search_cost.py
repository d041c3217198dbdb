"""What searching costs per question, from what predictions wrote down of every search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from kard_ray.evaluation.sources import PassageSource, searched


class SearchCost(NamedTuple):
    """Mean FLOPs per question over all rounds: encoding queries, and reranking."""

    retriever: float = 0.0
    reranker: float = 0.0


NOTHING = SearchCost()


def search_costs(
    searches: pa.Table | None, asked: Mapping[PassageSource, int]
) -> dict[PassageSource, SearchCost]:
    """The cost of each source in ``asked``, which maps it to its number of questions; an unknown one is left out.

    ``searches`` has the schema SEARCHES_TABLE; None: nothing was written down. BM25 is known to cost nothing then.
    """
    sums: dict[PassageSource, SearchCost | None] = {}
    for row in searches.to_pylist() if searches is not None else ():
        before = sums.get(row["source"], NOTHING)
        parts = (row["retriever_flops"], row["reranker_flops"])
        known = before is not None and None not in parts
        sums[row["source"]] = (
            SearchCost(before.retriever + parts[0], before.reranker + parts[1])
            if before is not None and known
            else None
        )
    costs = {}
    for source, questions in asked.items():
        if source in sums:
            total = sums[source]
            if total is not None and questions:
                costs[source] = SearchCost(total.retriever / questions, total.reranker / questions)
        elif searched(source) is None or source == "bm25" or searches is not None:
            costs[source] = NOTHING
    return costs
