from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.methods.base import Evidence, Help
from kard_ray.student.rationale_choice import Choice, ordered

ITEMS = [
    Evidence(rationale="Chile is larger than Norway by far.", silver=[("Chile", "It is larger.")]),
    Evidence(rationale="Norway is small.", silver=[("Peru", "A country.")]),
    Evidence(rationale="Chile is larger.", silver=[("Chile", "It is larger.")]),
]


def texts(items: list[Evidence]) -> list[str]:
    return [item.rationale for item in items]


def test_the_shortest_come_first() -> None:
    found = ordered(ITEMS, "shortest", seed=0, question_id="q")
    assert texts(found)[-1] == ITEMS[0].rationale
    assert set(texts(found)[:2]) == {ITEMS[1].rationale, ITEMS[2].rationale}


def test_the_best_supported_come_first() -> None:
    found = ordered(ITEMS, "supported", seed=0, question_id="q")
    assert texts(found) == [ITEMS[2].rationale, ITEMS[0].rationale, ITEMS[1].rationale]


def test_without_passages_support_is_the_same_for_all_and_the_shortest_win() -> None:
    bare = [Evidence(rationale=item.rationale, silver=()) for item in ITEMS]
    assert texts(ordered(bare, "supported", seed=0, question_id="q"))[-1] == ITEMS[0].rationale


def test_chance_depends_on_seed_and_question_only() -> None:
    orders = {tuple(texts(ordered(ITEMS, "random", seed=seed, question_id="q"))) for seed in range(20)}
    assert len(orders) > 1
    again = ordered(ITEMS, "random", seed=3, question_id="q")
    assert texts(again) == texts(ordered(ITEMS, "random", seed=3, question_id="q"))


@given(st.sampled_from(["random", "shortest", "supported"]), st.integers(), st.sets(st.integers(0, 2)))
def test_every_choice_keeps_all_and_puts_symbolic_knowledge_first(
    choice: Choice, seed: int, helped: set[int]
) -> None:
    items = [
        Evidence(
            rationale=item.rationale, silver=item.silver, help=[Help(summary="s")] if at in helped else ()
        )
        for at, item in enumerate(ITEMS)
    ]
    found = ordered(items, choice, seed=seed, question_id="q")
    assert sorted(texts(found)) == sorted(texts(items))
    assert [bool(item.help) for item in found] == [True] * len(helped) + [False] * (3 - len(helped))
