from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.comparison.examples import choose_questions, cut, make_examples
from tests.comparison.fake import fake_answers, fake_questions, fake_texts

QUESTIONS = fake_questions(30)
ANSWERS = fake_answers(QUESTIONS, methods=("finetune", "kard"), seeds=(1, 2))


@given(st.integers(0, 40))
def test_so_many_questions_are_chosen_each_once_and_always_the_same(count: int) -> None:
    chosen = choose_questions(ANSWERS, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(QUESTIONS))
    assert chosen == choose_questions(ANSWERS, count)
    assert {*chosen} <= {*QUESTIONS}


def test_half_of_them_are_such_on_which_students_disagree() -> None:
    chosen = choose_questions(ANSWERS, 20)
    right = {
        name: {
            a.predictions["correct"][a.predictions["question_id"].to_pylist().index(name)].as_py()
            for a in ANSWERS
        }
        for name in chosen
    }
    assert all(len(right[name]) == 2 for name in chosen[10:18])


def test_an_example_has_the_first_seed_of_each_row_and_its_passages() -> None:
    silver = {name: ["s1"] for name in QUESTIONS}
    examples = make_examples(ANSWERS, QUESTIONS, silver, fake_texts, count=4)
    for example in examples:
        question = QUESTIONS[example["id"]]
        assert example["gold"] == question.answer_text
        assert example["silver_passages"] == ["s1"]
        assert [answer["row"].split("/")[1:] for answer in example["answers"]] == [
            ["finetune", "none"], ["kard", "bm25"], ["kard", "silver"],
        ]  # fmt: skip
        wanted = {p for answer in example["answers"] for p in answer["passages"]} | {*question.gold_passages}
        assert example["passages"].keys() == wanted
        first = next(a for a in ANSWERS if a.method == "kard" and a.seed == 1)
        lines = {
            line["question_id"]: line for line in first.predictions.to_pylist() if line["source"] == "bm25"
        }
        assert example["answers"][1]["text"] == lines[example["id"]]["generated_text"]


def test_a_passage_that_is_gone_is_left_out() -> None:
    examples = make_examples(ANSWERS, QUESTIONS, {}, lambda ids: {}, count=2)
    assert all(example["passages"] == {} for example in examples)


@given(st.text(), st.integers(1, 20))
def test_a_cut_text_is_short_and_begins_like_the_whole(text: str, characters: int) -> None:
    short = cut(text, characters)
    assert len(short) <= characters
    assert text.startswith(short.removesuffix("…")) or short == text
