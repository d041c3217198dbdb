from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.evaluation.rounds import merged, query_with_passage


def passages(ids: str) -> list[dict[str, Any]]:
    return [
        {"passage_id": name, "title": name.upper(), "text": f"About {name}.", "score": 1.0} for name in ids
    ]


def ids(found: Any) -> str:
    return "".join(passage["passage_id"] for passage in found)


def test_the_last_round_begins_and_a_passage_of_both_takes_one_place() -> None:
    assert ids(merged([passages("abc"), passages("xyz")], 3)) == "xay"
    assert ids(merged([passages("abc"), passages("axy")], 3)) == "axb"
    assert ids(merged([passages("ab"), passages("cd"), passages("ef")], 4)) == "ecaf"
    assert ids(merged([passages("abc"), []], 2)) == "ab"
    assert merged([[], []], 3) == []


@given(
    st.lists(st.text("abcdefgh", max_size=5).map(lambda name: "".join(dict.fromkeys(name))), min_size=1),
    st.integers(0, 6),
)
def test_no_more_than_k_are_shown_each_once_and_every_round_counts(rounds: list[str], k: int) -> None:
    shown = ids(merged([passages(found) for found in rounds], k))
    everything = set("".join(rounds))
    assert len(shown) == len(set(shown)) == min(k, len(everything))
    assert set(shown) <= everything
    # Nobody's second passage is shown before somebody's first is.
    if k >= len({found[0] for found in rounds if found}):
        assert {found[0] for found in rounds if found} <= set(shown)
    assert ids(merged([passages(rounds[0])], k)) == rounds[0][:k]


def test_a_passage_is_joined_to_the_question_once() -> None:
    first, joined = query_with_passage("Where?", passages("ab"), ())
    assert (first, joined) == ("Where? A About a.", "a")
    again, joined = query_with_passage("Where?", passages("ab"), ["a"])
    assert (again, joined) == ("Where? B About b.", "b")
    assert query_with_passage("Where?", passages("a"), ["a"]) == ("Where?", None)
