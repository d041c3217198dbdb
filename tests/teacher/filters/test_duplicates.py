from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.near_duplicates import jaccard
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.duplicates import Duplicates

LONG = (
    "The sun gives plants the energy that they need for photosynthesis, in which they turn carbon dioxide and water "
    "into sugar and oxygen; with that sugar they sprout, grow, bloom and at last wilt in the course of a year."
)


def reasons(rationales: list[str], check: Duplicates | None = None) -> list[str | None]:
    samples = [
        Written(rationale=text, question="", options=(), answer=-1, passages=(), answer_form="text")
        for text in rationales
    ]
    return (check or Duplicates()).reasons(samples)


def test_the_first_of_equal_texts_stays_whatever_their_case_and_punctuation() -> None:
    found = reasons(["It is so.", "It is not so.", "it is  so", "It is so!"], Duplicates(near=None))
    assert found[:2] == [None, None]
    assert found[2:] == ["says the same as an earlier sample"] * 2


def test_a_text_that_differs_in_a_word_is_near_and_one_with_other_words_is_not() -> None:
    found = reasons(
        [LONG, LONG.replace("bloom", "flower"), LONG.replace("sugar", "glucose").upper(), "Else."]
    )
    assert found[0] is None
    assert found[1] is not None
    assert found[1].startswith("says nearly the same as an earlier sample (similarity 0.8")
    assert found[3] is None
    assert reasons([LONG, LONG.replace("bloom", "flower")], Duplicates(near=None)) == [None, None]


def test_texts_without_words_are_compared_as_they_stand() -> None:
    assert [it is None for it in reasons(["!", "?", "!", ""])] == [True, True, False, True]


TEXT = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6).map(" ".join)


@given(st.lists(TEXT, max_size=8), st.sampled_from([None, 0.3, 0.5, 0.8, 1.0]), st.integers(1, 3))
def test_kept_texts_are_all_different_and_each_dropped_one_is_like_a_kept_one_before_it(
    texts: list[str], near: float | None, words: int
) -> None:
    found = reasons(texts, Duplicates(near=near, shingle_words=words))
    threshold = 1.0 if near is None else near
    kept: list[str] = []
    for text, reason in zip(texts, found, strict=True):
        alike = [it for it in kept if it == text or (near and jaccard(it, text, words) >= threshold)]
        assert bool(alike) == (reason is not None)
        kept += [] if reason else [text]
