from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.focus import sentences
from kard_ray.teacher.shaping import supporting_sentences

OPTIONS = ("disease", "fecal matter", "fuel", "fertilizer")
WEIGHING = (
    "This question requires basic knowledge about digestion. When we eat a large meal, the food is broken down in our "
    "stomach and intestines. The waste is excreted from our bodies as fecal matter. Option (A) is incorrect because a "
    "meal does not guarantee disease. Option (D) is unrelated. So the answer is fecal matter."
)


def test_only_the_argument_for_the_right_option_is_kept() -> None:
    assert supporting_sentences(WEIGHING, OPTIONS, 1, limit=1) == (
        "The waste is excreted from our bodies as fecal matter."
    )


def test_a_short_sentence_keeps_the_one_it_follows_from() -> None:
    assert supporting_sentences(WEIGHING, OPTIONS, 1, limit=2) == (
        "When we eat a large meal, the food is broken down in our stomach and intestines. "
        "The waste is excreted from our bodies as fecal matter."
    )


def test_a_long_sentence_stands_alone() -> None:
    long = "Over many years " + "and years " * 10 + "the waste became fecal matter."
    assert supporting_sentences(f"It begins. {long}", OPTIONS, 1, limit=3) == long


def test_a_text_that_only_argues_for_a_wrong_option_gives_nothing() -> None:
    assert supporting_sentences("A large meal gives us fuel.", OPTIONS, 1, limit=2) == ""
    assert supporting_sentences("Option (B) is correct.", OPTIONS, 1, limit=2) == ""
    assert supporting_sentences("", OPTIONS, 1, limit=2) == ""


def test_without_options_that_sentences_name_the_last_sentences_stay() -> None:
    text = "Bern lies in Switzerland. It is a city of many cultures. Many foreigners live there."
    wanted = "It is a city of many cultures. Many foreigners live there."
    assert supporting_sentences(text, ("yes", "no"), 1, limit=2) == wanted
    assert supporting_sentences(text, (), -1, limit=2) == wanted


@given(
    st.lists(st.sampled_from([*sentences(WEIGHING), "Fuel burns.", "x", ""]), max_size=8),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_what_is_kept_was_written_in_a_row_and_is_no_longer_than_asked(
    parts: list[str], answer: int, limit: int
) -> None:
    text = " ".join(" ".join(parts).split())
    kept = supporting_sentences(text, OPTIONS, answer, limit=limit)
    assert len(sentences(kept)) <= limit
    assert all(part in text for part in sentences(kept))
    assert "Option" not in kept
    assert "answer is" not in kept
