from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.evaluation.voting import majority

ANSWERS = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([0, 1, 1], (1, 2 / 3)),
        ([1, 0], (0, 1 / 2)),  # as many votes each: the first seen
        ([None, 2, None], (1, 1.0)),  # an unreadable text does not vote
        ([None, None], None),
        ([], None),
    ],
)
def test_the_majority_answers(answers: list[int | None], expected: tuple[int, float] | None) -> None:
    assert majority(answers) == expected


@given(ANSWERS)
def test_nobody_has_more_votes_than_the_winner_and_the_first_of_equals_wins(
    answers: list[str | None],
) -> None:
    found = majority(answers)
    votes = Counter(answer for answer in answers if answer is not None)
    if found is None:
        assert not votes
        return
    place, share = found
    winner = answers[place]
    assert winner is not None
    assert votes[winner] == max(votes.values())
    assert share == votes[winner] / sum(votes.values())
    assert all(votes[answer] < votes[winner] for answer in answers[:place] if answer is not None)


@given(ANSWERS)
def test_unreadable_texts_change_nothing_but_places(answers: list[str | None]) -> None:
    found, without = majority(answers), majority([answer for answer in answers if answer is not None])
    assert (found is None) == (without is None)
    if found and without:
        assert found[1] == without[1]


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=9))
def test_another_vote_for_the_winner_keeps_it_the_winner(answers: list[str]) -> None:
    found = majority(answers)
    assert found is not None
    again = majority([*answers, answers[found[0]]])
    assert again is not None
    assert again[0] == found[0]
    assert again[1] >= found[1]
