from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.focus import focus, sentences

CHILE = (
    "Chile lies in South America. The area of Chile is 756,102 square kilometres. "
    "The capital of Chile is Santiago. Copper is mined in the north of Chile."
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He left. "Why?" (Nobody knows.)', ["He left.", '"Why?" (Nobody knows.)']),
        ("It grew by 2.5% in 2010. 3 of 4 agree.", ["It grew by 2.5% in 2010.", "3 of 4 agree."]),
        (
            "It sells to S. Korea (U. S. A. too). It does.",
            ["It sells to S. Korea (U. S. A. too).", "It does."],
        ),
        ("It is 5 km (est. in May) wide", ["It is 5 km (est. in May) wide"]),
        ("", [""]),
    ],
)
def test_a_text_is_cut_where_a_sentence_ends_and_another_begins(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


WORDS = st.lists(
    st.sampled_from(
        ["Chile", "is", "long.", "Oslo!", "5,509,733.", "(2023", "est.)", "“Why?", "the", "U.S."]
    ),
    max_size=40,
)


@given(WORDS)
def test_the_sentences_joined_by_spaces_are_the_text(words: list[str]) -> None:
    text = " ".join(words)
    assert " ".join(sentences(text)) == text


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("Is the area of Chile larger than 5?", "yes", "The area of Chile is 756,102 square kilometres."),
        ("What is the capital of Chile?", "Santiago", "The capital of Chile is Santiago."),
        # The answer is in a sentence that shares nothing else with the question.
        ("Which of these does Chile export?", "Copper", "Copper is mined in the north of Chile."),
        # Nothing but the name that stands in every sentence: the first of them.
        ("Is it Chile?", "no", "Chile lies in South America."),
    ],
)  # fmt: skip
def test_the_sentence_that_answers_is_shown(question: str, answer: str, expected: str) -> None:
    assert focus(CHILE, question=question, answer=answer, limit=1) == expected


def test_a_word_that_stands_in_every_sentence_does_not_decide() -> None:
    text = "Chile and Chile alone. Its capital is Santiago. Chile, Chile, and Chile once more."
    shown = focus(text, question="Which capital has Chile?", answer="yes", limit=1)
    assert shown == "Its capital is Santiago."


def test_the_words_that_questions_are_made_of_do_not_decide() -> None:
    text = "Which is the one that was not from here? Oslo lies there."
    shown = focus(text, question="Which is the city that has not Oslo?", answer="no", limit=1)
    assert shown == "Oslo lies there."


@given(WORDS, st.text(max_size=30), st.sampled_from(["Chile", "no", "5,509,733", ""]), st.integers(1, 6))
def test_focus_shows_the_passages_own_sentences_in_their_order(
    words: list[str], question: str, answer: str, limit: int
) -> None:
    text = " ".join(words)
    parts = sentences(text)
    shown = focus(text, question=question, answer=answer, limit=limit)
    rest = iter(parts)
    kept = sentences(shown)
    assert all(part in rest for part in kept)  # a subsequence
    assert len(kept) == min(limit, len(parts))


@given(WORDS, st.text(max_size=30), st.integers(1, 6))
def test_a_larger_limit_shows_at_least_the_same(words: list[str], question: str, limit: int) -> None:
    text = " ".join(words)
    few = sentences(focus(text, question=question, answer="Oslo", limit=limit))
    more = sentences(focus(text, question=question, answer="Oslo", limit=limit + 1))
    assert not [part for part in few if few.count(part) > more.count(part)]
