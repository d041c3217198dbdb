from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.predict import prediction_rows
from kard_ray.student.question_passages import search_query

TEXT = st.text(min_size=1, max_size=30)


@given(
    text=TEXT,
    options=st.lists(TEXT, min_size=2, max_size=5),
    answer=st.integers(0, 1),
    with_options=st.booleans(),
)
def test_a_question_is_searched_for_as_at_test_and_without_its_answer(
    text: str, options: list[str], answer: int, *, with_options: bool
) -> None:
    asked = [
        Question(question_id="q", split="train", question=text, options=options, answer=at)
        for at in (answer, 1 - answer)
    ]
    queries = {search_query(question, with_options=with_options) for question in asked}
    (row,) = prediction_rows(asked[:1], ["bm25"], {}, with_options=with_options).to_pylist()
    assert queries == {row["query"]} == {" ".join([text, *options]) if with_options else text}
