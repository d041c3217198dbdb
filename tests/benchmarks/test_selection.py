from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.selection import SelectionConfig, select
from kard_ray.runtime.errors import UserError

KINDS = ("bridge", "choice", "compare")


def questions(counts: dict[str, int], split: str = "train") -> list[Question]:
    return [
        Question(
            question_id=f"{split}-{kind}-{n}",
            split=split,
            question="Q?",
            options=("a", "b"),
            answer=0,
            kind=kind,
        )
        for kind, count in counts.items()
        for n in range(count)
    ]


POOL = questions({"bridge": 40, "choice": 100, "compare": 60})


@given(st.permutations(POOL), st.integers(1, 250))
def test_a_number_takes_the_same_questions_whatever_their_order_was(rows: list[Question], count: int) -> None:
    found = select(rows, "train", SelectionConfig(train=count))
    assert found == select(POOL, "train", SelectionConfig(train=count))
    assert len(found) == min(count, len(POOL)) == len({q.question_id for q in found})


@given(
    st.dictionaries(st.sampled_from(KINDS), st.floats(0.1, 10), min_size=1),
    st.integers(1, 250),
    st.integers(0, 50),
)
def test_a_smaller_number_takes_a_beginning_of_what_a_larger_one_takes(
    shares: dict[str, float], count: int, more: int
) -> None:
    few = select(POOL, "train", SelectionConfig(train=count, train_shares=shares))
    many = select(POOL, "train", SelectionConfig(train=count + more, train_shares=shares))
    assert many[: len(few)] == few
    assert {q.kind for q in many} <= set(shares)


@given(st.dictionaries(st.sampled_from(KINDS), st.floats(0.5, 4), min_size=1))
def test_kinds_have_the_shares_asked_for_while_their_questions_last(shares: dict[str, float]) -> None:
    found = Counter(q.kind for q in select(POOL, "train", SelectionConfig(train=40, train_shares=shares)))
    for kind, share in shares.items():
        assert found[kind] == pytest.approx(40 * share / sum(shares.values()), abs=1.5)


def test_a_kind_that_has_run_out_leaves_its_place_to_the_others() -> None:
    config = SelectionConfig(train=150, train_shares={"bridge": 5, "choice": 1, "compare": 1})
    assert Counter(q.kind for q in select(POOL, "train", config)) == {
        "bridge": 40,
        "choice": 55,
        "compare": 55,
    }


def test_shares_are_of_train_questions_only() -> None:
    rows = POOL + questions({"compare": 3}, split="test")
    config = SelectionConfig(test=2, train_shares={"choice": 1})
    assert [q.kind for q in select(rows, "test", config)] == ["compare", "compare"]


@pytest.mark.parametrize("shares", [{"chioce": 1.0}, {"choice": 0.0}, {"choice": -1.0}])
def test_a_share_that_cannot_be_given_is_refused_with_the_kinds_there_are(shares: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"questions\.train_shares.*bridge, choice, compare"):
        select(POOL, "train", SelectionConfig(train_shares=shares))
