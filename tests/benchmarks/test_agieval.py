from __future__ import annotations

import json
from collections import Counter

import pytest

from kard_ray.benchmarks.agieval import SKINTERN_TASKS, AgiEval, AgiEvalConfig
from kard_ray.benchmarks.agieval_examples import EXAMPLES
from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.runtime.errors import UserError


def row(number=0, **more):
    return {
        "passage": None,
        "question": f"What is it {number}?",
        "options": ["(A)one", "(B) two", "(C)A three", "(D)four"],
        "label": "C",
        "answer": None,
        "other": None,
    } | more


def read(folder, *tasks, **config):
    return list(AgiEval(AgiEvalConfig(path=str(folder), tasks=tasks, **config)).questions())


def put(folder, task, rows, place="."):
    (folder / place).mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (folder / place / f"{task}.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("place", [".", "data", "data/v1"])
def test_options_lose_their_letters_and_the_label_is_the_answer(tmp_path, place):
    put(tmp_path, "aqua-rat", [row()], place)
    (question,) = read(tmp_path, "aqua-rat")
    assert question.options == ("one", "two", "A three", "four")
    assert (question.answer_text, question.split, question.kind) == ("A three", "test", "aqua-rat")


@pytest.mark.parametrize(
    ("listed", "options"),
    [
        (["A No salt", "B No tea", "C A bee", "D B"], ("No salt", "No tea", "A bee", "B")),
        (["A? Many buy", "B? Few buy", "(C)C.", "(D)Ding."], ("Many buy", "Few buy", "C.", "Ding.")),
        (["one", "two", "A three", "four"], ("one", "two", "A three", "four")),
        (["(A)one (B)two (C)three"], ("one", "two", "three")),
    ],
)
def test_letters_are_taken_off_however_they_are_written(tmp_path, listed, options):
    put(tmp_path, "logiqa-en", [row(options=listed)])
    assert read(tmp_path, "logiqa-en")[0].options == options


def test_a_passage_stands_before_its_question_unless_the_task_is_without(tmp_path):
    put(tmp_path, "sat-en", [row(passage="Akira came.")])
    (given,) = read(tmp_path, "sat-en")
    (without,) = read(tmp_path, "sat-en-without-passage")
    assert given.question == "Akira came.\nWhat is it 0?"
    assert without.question == "What is it 0?"
    assert (given.kind, without.kind) == ("sat-en", "sat-en-without-passage")
    assert given.question_id != without.question_id


def test_math_is_open_and_its_formula_is_read_back(tmp_path):
    formulas = ["30", "\\frac{1}{2}", "(3,4]", "3 + 2 \\sqrt{2}"]
    put(tmp_path, "math", [row(n, options=None, label=None, answer=a) for n, a in enumerate(formulas)])
    found = read(tmp_path, "math")
    assert [q.gold for q in found] == formulas
    for question in found:
        answer = read_answer("So. " + conclusion((), -1, "text", question.gold), question, "text")
        assert answer is not None
        assert answer.correct


def test_questions_on_one_passage_never_part(tmp_path):
    put(tmp_path, "lsat-rc", [row(n, passage=f"Text {n // 5}.") for n in range(100)])
    found = read(tmp_path, "lsat-rc", dev_fraction=0.2)
    assert Counter(q.split for q in found) == {"dev": 20, "test": 80}
    sides = {}
    for question in found:
        passage = question.question.split("\n")[0]
        assert sides.setdefault(passage, question.split) == question.split


def test_the_tasks_are_skinterns_unless_others_are_asked_for():
    assert AgiEvalConfig(path="x").tasks == SKINTERN_TASKS
    assert len(SKINTERN_TASKS) == 8
    assert set(EXAMPLES) == {*SKINTERN_TASKS, "gaokao-english", "math"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": None}, "field options: got nothing"),
        (
            {"options": ["(A)", "(B)b"]},
            "field options: got ['(A)', '(B)b']; expected texts behind the letters",
        ),
        ({"options": ["(A)one"]}, "field options"),
        ({"label": "E"}, "field label: got 'E'; expected one of A, B, C, D"),
        ({"question": ""}, "field question"),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, change, message):
    put(tmp_path, "sat-math", [row(), row(1, **change)])
    with pytest.raises(UserError) as error:
        read(tmp_path, "sat-math")
    assert "sat-math.jsonl, line 2, " in str(error.value)
    assert message in str(error.value)


def test_a_task_without_its_file_is_told_with_the_field(tmp_path):
    put(tmp_path, "lsat-ar", [row()])
    with pytest.raises(
        UserError, match=r"benchmark.path: .* does not hold lsat-lr.jsonl; .* of benchmark.tasks"
    ):
        read(tmp_path, "lsat-ar", "lsat-lr")
