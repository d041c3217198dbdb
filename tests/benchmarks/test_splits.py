from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.splits import (
    grouped_share,
    hashed_share,
    in_split,
    not_held_out,
    refuse_repeated_ids,
    with_ids,
)
from kard_ray.runtime.errors import UserError


def question(text: str, options: tuple[str, ...] = (), question_id: str = "") -> Question:
    return Question(question_id=question_id, split="train", question=text, options=options, gold="1")


def test_an_id_follows_from_the_content_and_not_from_the_place() -> None:
    first = with_ids([question("One?"), question("Two?")], "b")
    second = with_ids([question("Two?"), question("Zero?"), question("One?")], "b")
    assert {row.question: row.question_id for row in first}.items() <= {
        row.question: row.question_id for row in second
    }.items()


def test_a_question_that_stands_again_has_an_id_of_its_own() -> None:
    rows = with_ids([question("One?")] * 3 + [question("One?", ("a", "b"))], "b")
    assert len({row.question_id for row in rows}) == 4
    assert [row.question_id.removeprefix(rows[0].question_id) for row in rows[:3]] == ["", "-2", "-3"]


@given(st.lists(st.integers(0, 40), max_size=80), st.floats(0.01, 0.99))
def test_a_share_is_as_large_as_asked_and_never_parts_the_same_question(
    numbers: list[int], fraction: float
) -> None:
    rows = with_ids([question(f"Is it {n}?") for n in numbers], "b")
    chosen = hashed_share(rows, fraction, "salt")
    assert len(chosen) <= fraction * len(rows) + 1
    assert chosen == hashed_share(rows[::-1], fraction, "salt")
    inside = {row.question for row in rows if row.question_id in chosen}
    assert not inside & {row.question for row in rows if row.question_id not in chosen}


@given(st.lists(st.integers(0, 9), max_size=60), st.floats(0, 0.99))
def test_a_group_is_never_parted_and_its_order_decides_nothing(groups: list[int], fraction: float) -> None:
    named = {f"q{n}": f"group {group}" for n, group in enumerate(groups)}
    chosen = grouped_share(named, fraction, "salt")
    assert chosen == grouped_share(dict(reversed(named.items())), fraction, "salt")
    inside = {named[name] for name in chosen}
    assert not inside & {group for name, group in named.items() if name not in chosen}
    assert len(chosen) <= fraction * len(named) + 1
    assert not grouped_share(named, 0, "salt")


@pytest.mark.parametrize(("count", "share"), [(250, 50), (187, 38), (178, 36), (146, 30), (1, 1), (0, 0)])
def test_a_share_of_different_questions_is_rounded_up(count: int, share: int) -> None:
    rows = with_ids([question(f"Is it {n}?") for n in range(count)], "b")
    assert len(hashed_share(rows, 0.2, "salt")) == share


def test_the_same_wording_with_other_options_is_another_question() -> None:
    rows = with_ids([question("Which?", (f"a{n}", f"b{n}")) for n in range(100)], "b")
    assert len(hashed_share(rows, 0.2, "salt")) == 20
    assert not_held_out(rows, rows[:10]) == rows[10:]
    assert (
        not_held_out([question("which ?".upper(), ("a0", "b0"))], [question("Which ?", ("a0", "b0"))]) == []
    )


def test_questions_keep_everything_but_their_split() -> None:
    rows = [question("One?", question_id="a")]
    (moved,) = in_split(rows, "dev")
    assert (moved.split, moved.question_id, moved.gold) == ("dev", "a", "1")


def test_an_id_that_stands_twice_is_refused() -> None:
    refuse_repeated_ids(
        [question("One?", question_id="a"), question("Two?", question_id="b")], "the folder data"
    )
    with pytest.raises(UserError, match="the folder data, field id: 'a' stands twice"):
        refuse_repeated_ids(
            [question("One?", question_id="a"), question("Two?", question_id="a")], "the folder data"
        )
