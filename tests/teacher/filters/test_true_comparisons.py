from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.true_comparisons import TrueComparisons


def reason(rationale: str) -> str | None:
    written = Written(
        rationale=rationale, question="", options=("yes", "no"), answer=0, passages=(), answer_form="text"
    )
    return TrueComparisons().reason(written)


@pytest.mark.parametrize(
    "rationale",
    [
        "9 is larger than 4.",
        "9,460,972 is larger than 946,097.",
        "3 is not larger than 5.",
        "5 is not larger than 5.",
        "5 is not less than 5.",
        "12.5% is higher than 8.1%.",
        "0.75 is greater than 0.5.",
        "-5 is lower than 3.",
        "-5 is higher than -40.",
        "$5,500 is more than $900.",
        "756,102 square kilometres is smaller than the area of Brazil, which is 8,515,770.",
        "5,509,733 people are fewer than 19,629,590 people.",
        "5 million is larger than 900,000.",
        "1.2 billion people is more than 900 million people.",
        "Norway (5,509,733) is smaller than Chile (19,629,590).",
        "Norway is larger than Chile.",  # no numbers: nothing to check
        "9 is larger. 4 is smaller than that.",
        "The 5 largest are larger than the rest.",
        "",
    ],
)
def test_true_and_unreadable_statements_are_kept(rationale: str) -> None:
    assert reason(rationale) is None


@pytest.mark.parametrize(
    "rationale",
    [
        "9,460,972 is larger than 9,460,972. So the answer is yes.",
        "946,097 is larger than 9,460,972.",
        "9 is not larger than 4.",
        "4 is NOT smaller than 9.",
        "8.1% is higher than 12.5%.",
        "0.5 is greater than 0.75.",
        "-40 is higher than -5.",
        "3 is lower than -5.",
        "$900 is more than $5,500.",
        "756,102 square kilometres is much larger than the area of Brazil, which is 8,515,770.",
        "9 is larger than 4, and 4 is larger than 9.",  # the second statement is the false one
        "900,000 is larger than 5 million.",
        "5 million people is smaller than 900,000 people.",
        "Norway (5,509,733) is larger than Chile (19,629,590).",
        "The population of 5,509,733 is larger than the population of Chile (19,629,590).",
    ],
)
def test_a_false_comparison_is_dropped_with_its_words(rationale: str) -> None:
    found = reason(rationale)
    assert found is not None
    assert found.startswith("false comparison: ")


@given(
    st.integers(-(10**9), 10**9),
    st.integers(-(10**9), 10**9),
    st.sampled_from(["larger", "greater", "higher", "more", "smaller", "less", "lower", "fewer"]),
    st.booleans(),
)
def test_every_statement_about_two_numbers_is_judged_by_arithmetic(
    a: int, b: int, word: str, negated: bool
) -> None:
    true = a > b if word in {"larger", "greater", "higher", "more"} else a < b
    statement = f"{a:,} is {'not ' if negated else ''}{word} than {b:,}."
    assert (reason(statement) is None) == (true != negated)
