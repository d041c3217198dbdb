from __future__ import annotations

import pytest

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.concludes import Concludes


def reason(rationale: str, *, answer: int = 0, form: AnswerForm = "text") -> str | None:
    written = Written(
        rationale=rationale,
        question="What is the capital of Portugal?",
        options=("Lisbon", "Porto", "Washington, D.C."),
        answer=answer,
        passages=(),
        answer_form=form,
    )
    return Concludes().reason(written)


@pytest.mark.parametrize(
    ("rationale", "answer"),
    [
        ("The capital of Portugal is Lisbon. So the answer is Lisbon.", 0),
        ("The capital of Portugal is Lisbon. So the answer is Lisbon", 0),
        ("  The capital of Portugal is Lisbon.\nso the answer is LISBON. \n", 0),
        ("The capital is not Lisbon but Porto. So the answer is Porto.", 1),
        ("The capital is the seat of government. So the answer is Washington, D.C..", 2),
        ("The capital is the seat of government. So the answer is Washington, D.C.", 2),
        ("The answer is found in the passage about Lisbon. So the answer is Lisbon.", 0),
    ],
)
def test_a_reason_that_ends_in_the_gold_conclusion_is_kept(rationale: str, answer: int) -> None:
    assert reason(rationale, answer=answer) is None


@pytest.mark.parametrize(
    ("rationale", "because"),
    [
        ("", "no answer"),
        ("The capital of Portugal is known to all.", "no answer"),
        ("The capital is Lisbon. So the answer is Lisbon or Porto.", "no answer"),
        ("The capital of Portugal is Porto. So the answer is Porto.", "another answer"),
        ("So the answer is Lisbon. It is the capital of Portugal.", "does not end"),
        ("The capital of Portugal is Lisbon.", "does not end"),
        ("The capital of Portugal is Lisbon. So the answer is Lisbon. I hope that helps.", "does not end"),
        ("The capital of Portugal is its seat. So the answer is the city of Lisbon.", "does not end"),
        ("So the answer is Lisbon.", "no reasoning"),
        ("It is Lisbon. So the answer is Lisbon.", "no reasoning"),
        ("A b c d e f. So the answer is Porto. So the answer is Lisbon.", "more than once"),
        ("It is the capital city. So the answer is Lisbon. So the answer is Lisbon.", "more than once"),
    ],
)
def test_a_rationale_without_one_gold_conclusion_at_its_end_is_dropped(rationale: str, because: str) -> None:
    found = reason(rationale)
    assert found is not None
    assert because in found


def test_the_letter_form_is_judged_by_the_letter() -> None:
    assert reason("The capital of Portugal is Lisbon. So the answer is (A).", form="letter") is None
    assert reason("The capital of Portugal is Lisbon. So the answer is (B).", form="letter") is not None
