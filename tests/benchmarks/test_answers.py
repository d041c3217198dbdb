from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.answers import (
    OpenKind,
    answers_match,
    numbers_in,
    open_kind,
    parse_open,
    read_answer,
)
from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import conclusion


def asked(gold: str) -> Question:
    return Question(question_id="q", split="test", question="?", gold=gold)


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("72", "number"),
        ("-11520", "number"),
        ("1,080", "number"),
        ("0.5", "number"),
        ("> }", "brackets"),
        ("]", "brackets"),
        ("(A)", "text"),
        ("apple bread", "text"),
        ("3 apples", "text"),
        ("Monsters, Inc", "text"),
    ],
)
def test_the_gold_answer_tells_how_answers_are_compared(gold: str, kind: OpenKind) -> None:
    assert open_kind(gold) == kind


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Natalia sold 48 + 24 = 72 clips. So the answer is 72.", "72"),
        ("So the answer is 72", "72"),
        ("So the answer is **72**.", "72"),
        ("So the answer is $72.", "72"),
        ("So the answer is $72.00 in all.", "72"),
        ("So the answer is 1,200.", "1200"),
        ("So the answer is 1,234,567.50 euros.", "1234567.5"),
        ("The answer is: 72 clips in 2 months.", "72"),
        ("So the answer is 48 + 24 = 72.", "72"),
        ("So the answer is 48 + 24 =", "48"),
        ("Therefore, the answer is 0.50.", "0.5"),
        ("So the answer is .5.", "0.5"),
        ("So the answer is -10.", "-10"),
        ("So the answer is \u221210.", "-10"),
        ("So the answer is -$10.", "-10"),
        ("So the answer is $-10.", "-10"),
        ("So the answer is -0.", "0"),
        ("So the answer is 50%.", "50"),
        ("So the answer is 007.", "7"),
        ("The answer is 70? No. So the answer is 72.", "72"),
        ("So the answer is 72.\n\nQuestion: How many are 3 and 4?", "72"),
        ("She sold 48/2 = <<48/2=24>>24 clips in May.\n#### 24", "24"),
        ("The total is \\boxed{72}", "72"),
        ("It takes 3 hours and then 12 more, which makes 15", "15"),
        ("First 10 - 3 is 7, then 7-5 is 2.", "2"),
        ("So the answer is seventy-two, or 72.", "72"),
        ("It is 6 * 12. So the answer is seventy-two.", "12"),  # the last number of all: read, and wrong
        ("72", "72"),
        ("So the answer is not 72.", None),
        ("So the answer is", None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_a_number_is_read_from_what_models_write(text: str, answer: str | None) -> None:
    assert parse_open(text, "number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("( closes last. So the answer is > }.", "> }"),
        ("So the answer is `] )`.", "] )"),
        ("So the answer is ])>.", "])>"),
        ("So the answer is: ] ) to close them all.", "] )"),
        ("> }", "> }"),
        ("We still need > }", None),
        ("So the answer is nothing.", None),
        ("", None),
    ],
)
def test_brackets_are_read_from_what_models_write(text: str, answer: str | None) -> None:
    assert parse_open(text, "brackets") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a comes before b. So the answer is apple bread.", "apple bread"),
        ("So the answer is: **apple, bread**.", "apple, bread"),
        ("The answer is\napple bread\n", "apple bread"),
        ("So the answer is Not Today.", "Not Today"),
        ("apple bread", "apple bread"),
        ("First apple.\nThen bread.", None),
        ("So the answer is .", None),
        ("", None),
    ],
)
def test_a_text_is_read_from_what_models_write(text: str, answer: str | None) -> None:
    assert parse_open(text, "text") == answer


@pytest.mark.parametrize(
    ("given_answer", "gold", "same"),
    [
        ("72.00", "72", True),
        ("$1,200", "1200", True),
        ("1200", "1,200", True),
        ("-10", "10", False),
        ("720", "72", False),
        ("])", "] )", True),
        (") ]", "] )", False),
        ("Apple,  Bread", "apple bread", True),
        ("apple bread.", "apple bread", True),
        ("bread apple", "apple bread", False),
        ("monsters, inc.", "Monsters, Inc", True),
    ],
)
def test_answers_are_compared_by_what_they_mean(given_answer: str, gold: str, same: bool) -> None:
    assert answers_match(given_answer, gold, open_kind(gold)) is same


@given(st.decimals(-(10**12), 10**12, places=3), st.booleans())
def test_a_number_is_the_same_in_every_way_of_writing_it(value: Decimal, separated: bool) -> None:
    (number,) = numbers_in(f"{value:,.3f}" if separated else f"{value:.3f}")
    assert Decimal(number) == value
    assert numbers_in(number) == [number]


WORDS = st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), min_size=1, max_size=6).map(" ".join)
BRACKETS = st.lists(st.sampled_from(list(")]}>")), min_size=1, max_size=8).map(" ".join)
GOLD = st.one_of(
    st.integers(-(10**9), 10**9).map(str), BRACKETS, WORDS.filter(lambda text: "answer" not in text)
)


@given(GOLD, st.sampled_from(["", "So it is 12 or ( ) or that. ", "1.\n2.\n\n"]))
def test_an_open_conclusion_is_read_back(gold: str, body: str) -> None:
    answer = read_answer(body + conclusion((), -1, "text", gold), asked(gold), "text")
    assert answer is not None
    assert (answer.correct, answer.option) == (True, None)


@given(st.text(max_size=200), GOLD)
def test_any_text_gives_an_answer_or_none(text: str, gold: str) -> None:
    answer = read_answer(text, asked(gold), "text")
    assert answer is None or answer.text


def test_an_option_is_told_by_its_index_and_its_text() -> None:
    question = Question(question_id="q", split="test", question="?", options=("Lisbon", "Porto"), answer=1)
    answer = read_answer("So the answer is Porto.", question, "text")
    assert answer is not None
    assert (answer.text, answer.option, answer.correct) == ("Porto", 1, True)
    wrong = read_answer("So the answer is (A).", question, "letter")
    assert wrong is not None
    assert (wrong.text, wrong.option, wrong.correct) == ("Lisbon", 0, False)
    assert read_answer("So the answer is Faro.", question, "text") is None
