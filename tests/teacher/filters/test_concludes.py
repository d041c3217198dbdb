from __future__ import annotations

import pytest

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.concludes import Concludes


def open_reason(rationale: str, gold: str) -> str | None:
    written = Written(
        rationale=rationale,
        question="How much?",
        options=(),
        answer=-1,
        gold=gold,
        passages=(),
        answer_form="text",
    )
    return Concludes().reason(written)


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


@pytest.mark.parametrize(
    ("rationale", "gold"),
    [
        ("There are 48 + 24 = 72 clips. So the answer is 72.", "72"),
        ("There are 48 + 24 = 72 clips. So the answer is 72 clips.", "72"),
        ("Twelve months of 100 dollars. So the answer is $1,200.00.", "1200"),
        ("It falls by ten degrees. So the answer is -10.", "-10"),
        ("The last one is closed first. So the answer is > }.", "> }"),
        ("Their first letters are a and b. So the answer is apple bread.", "apple bread"),
    ],
)
def test_an_open_answer_may_be_written_in_its_own_way(rationale: str, gold: str) -> None:
    assert open_reason(rationale, gold) is None


@pytest.mark.parametrize(
    ("rationale", "gold", "because"),
    [
        ("There are 48 + 24 = 72 clips. So the answer is 73.", "72", "another answer"),
        ("There are 48 + 24 = 72 clips.", "72", "does not end"),
        ("There are 48 + 24 clips. So the answer is 72. I hope that helps.", "72", "does not end"),
        ("There are 48 + 24 clips. So the answer is 48 + 24 = 72.", "72", "does not end"),
        ("There are many clips in all. So the answer is many.", "72", "no answer"),
        ("So the answer is 72.", "72", "no reasoning"),
        ("It is not 70. So the answer is 71. So the answer is 72 clips.", "72", "more than once"),
        ("The last one is closed first. So the answer is } >.", "> }", "another answer"),
        ("Their first letters are a and b. So the answer is bread apple.", "apple bread", "another answer"),
    ],
)
def test_a_wrong_or_unclear_open_answer_is_dropped(rationale: str, gold: str, because: str) -> None:
    found = open_reason(rationale, gold)
    assert found is not None
    assert because in found
