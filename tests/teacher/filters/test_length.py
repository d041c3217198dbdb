from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.length import Length


def reason(rationale: str, check: Length) -> str | None:
    written = Written(
        rationale=rationale, question="", options=("yes", "no"), answer=0, passages=(), answer_form="text"
    )
    return check.reason(written)


@given(st.integers(0, 20), st.integers(0, 10), st.integers(1, 10))
def test_a_rationale_is_kept_between_the_two_counts_and_at_them(count: int, least: int, more: int) -> None:
    found = reason(" ".join(["word"] * count), Length(min_words=least, max_words=least + more))
    assert (found is None) == (least <= count <= least + more)
    assert found is None or found.startswith(f"{count} words, ")


def test_punctuation_is_no_word_and_each_ideograph_is_one() -> None:
    check = Length(min_words=5, max_words=10)
    assert reason("- . . . yes ! ! !", check) is not None
    assert reason("植物不能移动。", check) is None


def test_counts_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing is left"):
        Length(min_words=10, max_words=9)
