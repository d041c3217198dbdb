from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.structured import as_json, as_text

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1).filter(
    lambda word: word.rstrip(".")
)


@given(st.lists(WORDS, min_size=1), WORDS)
def test_what_an_example_shows_is_read_back_as_a_rationale_with_its_conclusion(
    words: list[str], answer: str
) -> None:
    rationale = " ".join(words)
    assert as_text(as_json(rationale, answer)) == f"{rationale} So the answer is {answer.rstrip('.')}."


@pytest.mark.parametrize(
    "text",
    ["", "It is.", "[]", '{"rationale": "It is."}', '{"rationale": 1, "answer": "yes"}', '{"rationale": "It',
     '{"rationale": " ", "answer": "yes"}', "[" * 100_000],
)  # fmt: skip
def test_anything_else_is_no_rationale(text: str) -> None:
    assert as_text(text) is None
