from __future__ import annotations

import pickle
import random
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.benchmarks.question import Question
from kard_ray.knowledge.contamination import (
    OVERLAPS,
    ContaminationConfig,
    Overlaps,
    overlaps_of_batch,
    question_text,
    words,
)

CONFIG = ContaminationConfig()
QUESTION = "Which river, the longest of its country, joins the Danube near the old town of Belgrade?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3.14 — NOT_really!", ["it", "s", "3", "14", "not", "really"]),
        ("Cafe\u0301 CAFÉ ｃａｆé", ["café", "café", "café"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("东京 Tower、です", ["东", "京", "tower", "で", "す"]),
        (" .,;", []),
    ],
)
def test_words_are_compared_without_case_form_and_punctuation(text, expected):
    assert words(text) == expected


WORD = st.text("abcdeéßд", min_size=1, max_size=4)
FILLER = st.lists(st.text("xyzю", min_size=1, max_size=4), max_size=20)
GAP = st.sampled_from([" ", ", ", "\n", " — ", '." "', "_", "...", " (", "-"])
CASE = st.sampled_from([str.upper, str.lower, str.title, str])


@st.composite
def planted(draw, shared):
    """(A question's text, a text that holds ``shared`` of its words in a row, written in another way)."""
    asked = draw(st.lists(WORD, min_size=13, max_size=30))
    start = draw(st.integers(0, len(asked) - shared))
    part = [draw(CASE)(word) for word in asked[start : start + shared]]
    before, after = draw(FILLER), draw(FILLER)
    text = "".join(word + draw(GAP) for word in [*before, *part, *after])
    return " ".join(asked), text


@given(planted(13))
def test_thirteen_words_in_a_row_are_found(pair):
    asked, text = pair
    found = Overlaps({"q": asked}, CONFIG).find(text)
    assert found
    for question_id, gram in found:
        assert question_id == "q"
        assert f" {gram} " in f" {' '.join(words(asked))} "
        assert f" {gram} " in f" {' '.join(words(text))} "
        assert len(gram.split()) == 13
    assert len(set(found)) == len(found)


@given(planted(12))
def test_twelve_are_not(pair):
    asked, text = pair
    assert Overlaps({"q": asked}, CONFIG).find(text) == []


def test_a_question_of_fewer_words_is_looked_for_as_a_whole():
    questions = {
        "eight": "Is the moon larger than the planet Mars?",
        "seven": "Is the moon larger than the earth?",
        "ten": "Is the moon larger than the planet Mars or Venus?",
    }
    overlaps = Overlaps(questions, CONFIG)
    assert overlaps.too_short == ["seven"]
    text = (
        "He asked: is the moon larger than the planet mars or Venus, and is the moon larger than the earth?"
    )
    assert overlaps.find(text) == [
        ("eight", "is the moon larger than the planet mars"),
        ("ten", "is the moon larger than the planet mars or venus"),
    ]
    assert overlaps.find("is the moon larger than the planet") == []
    assert Overlaps(questions, ContaminationConfig(ngram=3)).too_short == []


def test_questions_that_share_words_are_all_named():
    overlaps = Overlaps({"a": QUESTION, "b": f"{QUESTION} Is it?"}, CONFIG)
    found = overlaps.find(QUESTION)
    assert {question_id for question_id, _ in found} == {"a", "b"}
    assert len(found) == 2 * (len(words(QUESTION)) - 12)
    assert pickle.loads(pickle.dumps(overlaps)).find(QUESTION) == found


def test_what_many_test_questions_hold_is_the_benchmarks_wording():
    table = "Here is a table where the first line is a header and each further line is a penguin: Louis, 7, 50, 11."
    asked = [
        f"Which of the penguins number {n} is the {n} heaviest one of all those in the table?"
        for n in range(12)
    ]
    questions = {f"q{n}": f"{table} {text}" for n, text in enumerate(asked)} | {"bare": table}
    overlaps = Overlaps(questions, CONFIG)
    assert overlaps.find(table) == []
    assert overlaps.common_alone == ["bare"]
    found = overlaps.find(f"Louis, 7, 50, 11. {asked[3]}")  # the question itself is still found
    assert {question_id for question_id, _ in found} == {"q3"}
    everything = Overlaps(questions, ContaminationConfig(common=None))
    assert everything.common_alone == []
    assert {question_id for question_id, _ in everything.find(table)} == set(questions)
    eleven = dict(list(questions.items())[:11])
    assert Overlaps(eleven, ContaminationConfig(common=11)).find(table)
    assert not Overlaps(eleven, CONFIG).find(table)


def test_a_batch_gives_one_row_for_each_overlap():
    overlaps = Overlaps({"q": QUESTION}, ContaminationConfig(ngram=16))
    batch = pa.table({"passage_id": ["p1", "p2"], "content": ["Nothing.", f"Title\n{QUESTION.upper()}"]})
    found = overlaps_of_batch(batch, overlaps, "passage", id_column="passage_id", text_column="content")
    assert found.schema == OVERLAPS
    assert found.to_pylist() == [
        {"question_id": "q", "kind": "passage", "id": "p2", "ngram": " ".join(words(QUESTION))}
    ]
    empty = overlaps_of_batch(pa.table({"id": ["t"], "text": ["Nothing."]}), overlaps, "question")
    assert empty.schema == OVERLAPS
    assert empty.num_rows == 0


def test_question_and_options_are_compared():
    question = Question(question_id="q", split="test", question="Is it?", options=("Yes", "No"), answer=0)
    assert words(question_text(question)) == ["is", "it", "yes", "no"]


def test_the_run_has_at_least_three_words():
    with pytest.raises(ValidationError):
        ContaminationConfig(ngram=2)


def speed(*, passages, test_questions):
    """Passages of 100 words a second on this core."""
    draw = random.Random(0)
    vocabulary = [f"w{i}" for i in range(3000)]

    def text(count):
        return " ".join(draw.choices(vocabulary, k=count))

    overlaps = Overlaps({f"q{i}": text(8 + i % 40) for i in range(test_questions)}, CONFIG)
    texts = [text(100) for _ in range(passages)]
    begin = time.process_time()
    for it in texts:
        overlaps.find(it)
    return passages / (time.process_time() - begin)


def test_two_thousand_passages_a_second():
    assert speed(passages=1000, test_questions=1000) > 2000
