from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.idset import IdSet

IDS = st.lists(st.text(max_size=5), max_size=20)


@given(IDS, IDS, st.randoms())
def test_sums_of_parts_are_the_whole_in_any_order(first: list[str], second: list[str], random) -> None:
    shuffled = first + second
    random.shuffle(shuffled)
    assert IdSet.of(first).plus(IdSet.of(second)) == IdSet.of(shuffled)
    assert IdSet.of(shuffled).minus(IdSet.of(second)) == IdSet.of(first)


@given(IDS, IDS)
def test_equal_fingerprints_are_equal_multisets(first: list[str], second: list[str]) -> None:
    assert (IdSet.of(first) == IdSet.of(second)) == (sorted(first) == sorted(second))


@given(IDS)
def test_it_goes_through_json(ids: list[str]) -> None:
    assert IdSet.parse(IdSet.of(ids).plain()) == IdSet.of(ids)


def test_one_id_twice_in_place_of_two_is_seen() -> None:
    assert IdSet.of(["a", "a"]) != IdSet.of(["a", "b"])
