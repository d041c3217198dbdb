from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.evaluation.retrieval_metrics import (
    best_per_document,
    interval,
    print_retrieval_table,
    retrieval_scores,
    values_by_query,
)
from kard_ray.knowledge.passage import RETRIEVED
from kard_ray.runtime.errors import UserError


def retrieved(**ranked):
    """Rows of RETRIEVED; scores are all equal, and the rows of a query stand in reverse."""
    rows = [
        {"query_id": query, "passage_id": item, "rank": rank, "score": 1.0, "title": "", "text": ""}
        for query, items in ranked.items()
        for rank, item in reversed(list(enumerate(items)))
    ]
    return pa.Table.from_pylist(rows, schema=RETRIEVED)


RELEVANT = {"q1": {"a": 1, "b": 2}, "q2": {"x": 1}, "q3": {"y": 1, "z": 0}, "q4": {"only": 0}}


def test_values_are_those_computed_by_hand():
    found = retrieved(q1=["c", "a", "d", "b"], q2=["x"], q4=["only"], q5=["x"])
    values = values_by_query(found, RELEVANT)
    assert {name: list(of.values()) for name, of in values.items()} == {
        "hits@1": [0, 1, 0],
        "hits@3": [1, 1, 0],
        "hits@10": [1, 1, 0],
        "recall@1": [0, 1, 0],
        "recall@3": [0.5, 1, 0],
        "recall@10": [1, 1, 0],
        "ndcg@10": [
            pytest.approx((1 / math.log2(3) + 2 / math.log2(5)) / (2 + 1 / math.log2(3)), abs=1e-12),
            1,
            0,
        ],
        "mrr@10": [0.5, 1, 0],
    }
    # The query without any row counts, the unjudged do not
    assert list(values["mrr@10"]) == ["q1", "q2", "q3"]
    scores = retrieval_scores(found, RELEVANT)
    assert scores["n"] == 3
    assert scores["mrr@10"] == pytest.approx(0.5)
    assert scores["hits@1"] == pytest.approx(1 / 3)
    for name in values:
        assert 0 <= scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"] <= 1
    assert scores == retrieval_scores(found, RELEVANT)


def test_nothing_found_at_all_is_zero_everywhere():
    scores = retrieval_scores(RETRIEVED.empty_table(), RELEVANT)
    assert {scores[f"{name}@10"] for name in ("hits", "recall", "ndcg", "mrr")} == {0.0}
    assert scores["n"] == 3


def test_ranks_below_ten_do_not_count():
    found = retrieved(q2=[f"n{i}" for i in range(10)] + ["x"])
    assert all(of["q2"] == 0 for of in values_by_query(found, RELEVANT).values())


def test_a_document_counts_once_at_its_best_rank():
    found = retrieved(q1=["c1", "a2", "a1", "c2", "b1"])
    documents = {name: name[0] for name in ("a1", "a2", "b1", "c1", "c2")}
    assert best_per_document(found, documents) == {"q1": ["c", "a", "b"]}
    values = values_by_query(found, RELEVANT, documents=documents)
    assert (values["mrr@10"]["q1"], values["recall@3"]["q1"]) == (0.5, 1.0)
    with pytest.raises(ValueError, match="passage 'c1' was found"):
        best_per_document(found, {"a1": "a", "a2": "a", "b1": "b", "c2": "c"})


def test_without_a_judged_query_there_is_no_score():
    with pytest.raises(UserError, match="grade above 0"):
        retrieval_scores(retrieved(q4=["only"]), {"q4": {"only": 0}})


ITEMS = st.sampled_from([f"d{i}" for i in range(16)])


@given(
    st.dictionaries(ITEMS, st.integers(-1, 4), min_size=1).filter(lambda grades: max(grades.values()) > 0),
    st.lists(ITEMS, unique=True),
)
def test_ndcg_and_the_others_match_their_definitions(grades, ranking):
    values = values_by_query(retrieved(q=ranking), {"q": grades}, ks=(1, 5))
    gains = [max(0, grades.get(item, 0)) for item in ranking]
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)

    def dcg(of):
        return math.fsum(gain / math.log2(place + 2) for place, gain in enumerate(of[:10]))

    assert values["ndcg@10"]["q"] == pytest.approx(dcg(gains) / dcg(best), abs=1e-12)
    first = next((place for place, gain in enumerate(gains[:10]) if gain), None)
    assert values["mrr@10"]["q"] == (0 if first is None else pytest.approx(1 / (first + 1)))
    for k in (1, 5):
        assert values[f"recall@{k}"]["q"] == pytest.approx(sum(g > 0 for g in gains[:k]) / len(best))
        assert values[f"hits@{k}"]["q"] == any(gains[:k])


def test_an_interval_covers_the_average_as_the_normal_one_does():
    values = {str(i): (i % 10) / 10 for i in range(500)}
    low, high = interval("ndcg@10", values)
    half = 1.96 * math.sqrt(0.0825 / 500)
    assert (low, high) == (pytest.approx(0.45 - half, abs=0.004), pytest.approx(0.45 + half, abs=0.004))
    assert interval("hits@1", dict.fromkeys("abcd", 0.0))[1] > 0.4  # never [0, 0] from four queries


def test_the_table_shows_each_row(capsys):
    scores = retrieval_scores(retrieved(q1=["b", "a"], q2=["x"], q3=["y"]), RELEVANT)
    print_retrieval_table(
        [
            {"mode": "bm25", "queries": "question", "queries_per_second": 1234.5} | scores,
            {"mode": "hybrid", "queries": "rationale", "queries_per_second": None, "n": 7},
        ]
    )
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "bm25" in line)
    for cell in ("question", "100.0 %", "1.000", "1.000 – 1.000", "3", "1,234.5"):
        assert cell in line
    assert "–" in next(line for line in shown.splitlines() if "hybrid" in line)
    assert all(len(line) <= 120 for line in shown.splitlines())
