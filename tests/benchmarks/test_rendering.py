from __future__ import annotations

from typing import get_args

from kard_ray.benchmarks.rendering import (
    LETTERS,
    AnswerForm,
    answer_text,
    conclusion,
    passages_block,
    question_block,
)

CAPITALS = ("Lisbon", "Porto", "Madrid")


def test_the_question_block_lists_every_option_in_both_forms() -> None:
    assert question_block("Which?", CAPITALS, "text") == "Question: Which?\nOptions: Lisbon; Porto; Madrid"
    assert (
        question_block("Which?", CAPITALS, "letter")
        == "Question: Which?\nOptions: (A) Lisbon (B) Porto (C) Madrid"
    )


def test_an_open_question_has_no_line_of_options_and_concludes_with_its_answer_in_both_forms() -> None:
    for form in get_args(AnswerForm):
        assert question_block("How many?", (), form) == "Question: How many?"
        assert answer_text((), -1, form, "72") == "72"
        assert conclusion((), -1, form, "72") == "So the answer is 72."


def test_passages_stand_one_a_line_with_their_title() -> None:
    assert (
        passages_block("Facts", [("Chile", "Long."), ("", "No title.")]) == "Facts:\nChile: Long.\nNo title."
    )


def test_every_letter_names_another_option() -> None:
    options = [f"option {n}" for n in range(len(LETTERS))]
    assert len({answer_text(options, n, "letter") for n in range(len(options))}) == len(LETTERS)
