from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.conclusions import closing_sentence, reasoning


@pytest.mark.parametrize(
    ("rationale", "left"),
    [
        ("9 is larger than 4. So the answer is yes.", "9 is larger than 4."),
        ("9 is larger than 4, so the answer is (A).", "9 is larger than 4,"),
        ("It rains. So the answer is no. So the answer is yes.", "It rains."),
        ("It rains. Therefore, option (D) is the correct answer.", "It rains."),
        ("It rains. The final answer is 5. Therefore, the correct answer is (B) no.", "It rains."),
        ("It rains.\nAnswer: D", "It rains."),
        ("Option (A) is wrong. It rains.", "Option (A) is wrong. It rains."),
        ("So the answer is yes.", ""),
        ("", ""),
    ],
)
def test_the_conclusion_is_cut_and_the_reasoning_stays(rationale: str, left: str) -> None:
    assert reasoning(rationale) == left


SENTENCES = st.lists(st.from_regex(r"[A-Z][a-z]{1,8} [a-z]{1,8}\.", fullmatch=True), max_size=5)


@given(
    SENTENCES, st.sampled_from(["So the answer is (B).", "so, the answer is no", "The right answer is 5."])
)
def test_reasoning_keeps_every_sentence_before_the_conclusion(before: list[str], closing: str) -> None:
    assert reasoning(" ".join([*before, closing])) == " ".join(before)
    assert reasoning(" ".join(before)) == " ".join(before)


def test_a_closing_sentence_is_what_reasoning_leaves_out() -> None:
    assert closing_sentence("It rains. So the answer is no. ") == "So the answer is no."
    assert closing_sentence("It rains. Therefore, option (D) is the correct answer.") == ""
