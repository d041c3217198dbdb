from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import QUESTIONS, Question, WorkedExample, from_table, to_table

TEXT = st.text(max_size=20)
TEXTS = st.lists(TEXT, max_size=4).map(tuple)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    options = draw(st.lists(TEXT, max_size=5).map(tuple))
    return Question(
        question_id=draw(TEXT),
        split=draw(st.sampled_from(["train", "dev", "test"])),
        question=draw(TEXT),
        options=options,
        answer=draw(st.integers(0, len(options) - 1)) if options else -1,
        gold="" if options else draw(TEXT),
        kind=draw(TEXT),
        pattern=draw(TEXT),
        gold_passages=draw(TEXTS),
        subjects=draw(TEXTS),
    )


@given(st.lists(questions(), max_size=6))
def test_questions_go_through_a_table_and_parquet_unchanged(rows: list[Question]) -> None:
    table = to_table(rows)
    assert table.schema == QUESTIONS
    assert from_table(table) == rows
    file = io.BytesIO()
    pq.write_table(table, file)
    assert from_table(pq.read_table(io.BytesIO(file.getvalue()))) == rows


def test_columns_that_a_question_does_not_have_are_left_out() -> None:
    row = Question(question_id="q", split="test", question="Which?", options=("a", "b"), answer=1)
    table = to_table([row]).append_column("score", pa.array([1.0]))
    assert from_table(table) == [row]


def test_the_answer_text_of_an_open_question_is_its_gold_answer() -> None:
    row = Question(question_id="q", split="test", question="How many?", gold="72")
    assert (row.answer_text, row.answer) == ("72", -1)
    assert WorkedExample(question="How many?", gold="72", rationale="").answer_text == "72"
    assert WorkedExample(question="?", options=("a", "b"), answer=1, rationale="").answer_text == "b"


def test_the_answer_text_is_the_gold_option() -> None:
    row = Question(question_id="q", split="test", question="Which?", options=("a", "b"), answer=1)
    assert row.answer_text == "b"
