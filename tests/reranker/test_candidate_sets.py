from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.reranker.candidate_sets import CandidateSets, both_sides
from kard_ray.reranker.candidates import CANDIDATES, PASSAGE_TEXTS
from kard_ray.runtime.errors import UserError

PASSAGES = pa.Table.from_pylist(
    [{"passage_id": f"p{at:02}", "title": f"T{at}", "text": f"text {at}"} for at in range(40)],
    schema=PASSAGE_TEXTS,
)


def table(sets: list[tuple[str, list[tuple[int, bool, bool]]]]) -> pa.Table:
    """(split, [(passage, by_rationale, by_question)])."""
    rows = [
        {
            "rationale_id": f"r{row:02}",
            "question_id": f"q{row}",
            "split": split,
            "question": f"question {row}",
            "candidates": [
                {
                    "passage_id": f"p{passage:02}",
                    "by_rationale": mine,
                    "by_question": its,
                    "place": at if its else -1,
                    "score": 50.0 - at,
                }
                for at, (passage, mine, its) in enumerate(candidates)
            ],
        }
        for row, (split, candidates) in enumerate(sets)
    ]
    return pa.Table.from_pylist(rows, schema=CANDIDATES)


CANDIDATE = st.sampled_from([(True, False), (False, True), (True, True)])
SETS = st.lists(st.lists(CANDIDATE, min_size=2, max_size=30), min_size=1, max_size=4)


@given(sets=SETS, count=st.integers(2, 12), seed=st.integers(0, 3))
def test_a_step_draws_half_of_each_side_and_fills_up_what_one_lacks(
    sets: list[list[tuple[bool, bool]]], count: int, seed: int
) -> None:
    rows = table([("train", [(at, *sides) for at, sides in enumerate(of)]) for of in sets])
    found = CandidateSets(rows, PASSAGES, "train")
    for row, of in enumerate(sets):
        drawn = found.draw(row, count, str(seed))
        assert drawn == found.draw(row, count, str(seed))
        assert len(set(drawn)) == len(drawn) == min(count, len(of))
        assert set(drawn) <= set(found.candidates(row))
        first = found.candidates(row).start
        mine = sum(of[at - first][0] for at in drawn)
        available = sum(by_rationale for by_rationale, _ in of)
        others = len(of) - available
        half = count - count // 2
        if len(of) > count:
            assert mine == min(available, max(half, count - others))


def test_another_seed_draws_others() -> None:
    rows = table([("train", [(at, at % 2 == 0, True) for at in range(40)])])
    found = CandidateSets(rows, PASSAGES, "train")
    assert len({tuple(found.draw(0, 8, str(seed))) for seed in range(20)}) > 10


def test_candidates_know_their_texts_scores_and_places() -> None:
    one, two = [(1, True, True)], [(7, True, False), (3, False, True)]
    rows = table([("dev", one), ("dev", two), ("train", two)])
    found = CandidateSets(rows, PASSAGES, "dev")
    assert len(found) == 1  # a single candidate teaches and tells nothing
    assert found.questions == ["question 1"]
    all_ = found.candidates(0)
    assert found.texts(all_) == ["T7\ntext 7", "T3\ntext 3"]
    assert found.scores(all_).tolist() == [50.0, 49.0]
    assert found.places(all_).tolist() == [-1, 1]
    assert found.passages(all_).tolist() == [7, 3]


def test_a_side_without_a_choice_is_told() -> None:
    two = [(1, True, True), (2, True, True)]
    training, held_out = both_sides(table([("train", two), ("dev", two)]), PASSAGES)
    assert (len(training), len(held_out)) == (1, 1)
    for rows in ([("train", two)], [("train", two), ("dev", two[:1])]):
        with pytest.raises(UserError, match="none of the dev candidate sets has 2 candidates"):
            both_sides(table(rows), PASSAGES)
