from __future__ import annotations

import json
from collections import Counter

import pytest

from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.bbh import TASKS, Bbh, BbhConfig
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.runtime.errors import UserError


def example(text, target):
    return {"input": text, "target": target}


def folder(path, **tasks):
    for task, examples in tasks.items():
        (path / f"{task}.json").write_text(json.dumps({"canary": "", "examples": examples}), encoding="utf-8")
    return str(path)


def read(path, *tasks, **config):
    return list(Bbh(BbhConfig(path=path, tasks=tasks, **config)).questions())


def only(tmp_path, task, text, target):
    (question,) = read(folder(tmp_path, **{task: [example(text, target)]}), task)
    return question


@pytest.mark.parametrize(
    ("task", "text", "target", "question", "options", "answer"),
    [
        ("snarks", "Which?\nOptions:\n(A) one\n(B) two", "(B)", "Which?", ("one", "two"), 1),
        ("navigate", "Back?\nOptions:\n- Yes\n- No", "No", "Back?", ("Yes", "No"), 1),
        (
            "formal_fallacies",
            "So?\nOptions:\n- valid \n- invalid",
            "valid",
            "So?",
            ("valid", "invalid"),
            0,
        ),
        ("boolean_expressions", "not True is", "False", "not True is", ("True", "False"), 1),
        ("sports_understanding", "Plausible?", "no", "Plausible?", ("yes", "no"), 1),
        ("web_of_lies", "Question: Does Ka lie?", "Yes", "Does Ka lie?", ("Yes", "No"), 0),
        ("ruin_names", "Options:\nWhich?\nOptions:\n(A) a\n(B) b", "(A)", "Options:\nWhich?", ("a", "b"), 0),
    ],
)
def test_listed_options_and_pairs_of_words_become_options(
    tmp_path, task, text, target, question, options, answer
):
    found = only(tmp_path, task, text, target)
    assert (found.question, found.options, found.answer) == (question, options, answer)
    assert (found.gold, found.kind) == ("", task)
    assert found.question_id.startswith(f"bbh-{task}-")


@pytest.mark.parametrize(
    ("task", "text", "target"),
    [
        ("object_counting", "I have a cup and a key. How many things?", "2"),
        ("dyck_languages", "Close: ( [", "] )"),
        ("word_sorting", "Sort: b a", "a b"),
        ("movie_recommendation", "Which?\nOptions:\n(A) Monsters\n(B) Inc\n(C) Heat", "Monsters, Inc"),
        ("snarks", "Which?\nOptions:\n(A) same\n(B) same", "(A)"),
        ("snarks", "Which?\nOptions:\n(A) one\n(C) two", "(A)"),
    ],
)
def test_what_has_no_options_that_hold_the_target_is_open_and_unchanged(tmp_path, task, text, target):
    found = only(tmp_path, task, text, target)
    assert (found.question, found.options, found.answer, found.gold) == (text, (), -1, target)


def test_a_fifth_of_each_task_is_test_and_a_tenth_of_the_rest_is_dev(tmp_path):
    path = folder(
        tmp_path,
        object_counting=[example(f"How many are {n}?", str(n)) for n in range(250)],
        word_sorting=[example(f"Sort: b{n} a", f"a b{n}") for n in range(146)],
    )
    found = read(path, "word_sorting", "object_counting")
    assert Counter((q.kind, q.split) for q in found) == {
        ("object_counting", "train"): 180,
        ("object_counting", "dev"): 20,
        ("object_counting", "test"): 50,
        ("word_sorting", "train"): 104,
        ("word_sorting", "dev"): 12,
        ("word_sorting", "test"): 30,
    }
    alone = read(path, "object_counting", dev_fraction=0.5)
    assert {q.question_id for q in alone if q.split == "test"} == {
        q.question_id for q in found if q.split == "test" and q.kind == "object_counting"
    }


def test_the_same_input_stays_in_one_split_even_with_another_target(tmp_path):
    rows = [example(f"How many are {n // 2}?", str(n)) for n in range(120)]
    sides = {}
    found = read(folder(tmp_path, object_counting=rows), "object_counting")
    for question in found:
        assert sides.setdefault(question.question, question.split) == question.split
    assert len({q.question_id for q in found}) == 120


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("x", "whole example"),
        ({"input": "Which?"}, "field target: got nothing"),
        ({"input": " ", "target": "no"}, "field input"),
        ({"input": "Is it?", "target": "maybe"}, "field target: got 'maybe'; expected yes or no"),
    ],
)
def test_a_mistake_names_file_example_and_field(tmp_path, bad, message):
    path = folder(tmp_path, sports_understanding=[example("Is it?", "no"), bad])
    with pytest.raises(UserError) as error:
        read(path, "sports_understanding")
    assert f"{tmp_path / 'sports_understanding.json'}, example 2, " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"examples": []}', '{"examples": 3}'])
def test_a_file_without_examples_is_an_error(tmp_path, content):
    (tmp_path / "snarks.json").write_text(content)
    with pytest.raises(UserError, match=r"snarks.json.*expected"):
        read(str(tmp_path), "snarks")


def test_a_task_without_its_file_is_an_error_that_names_the_field(tmp_path):
    path = folder(tmp_path, snarks=[example("Which?\nOptions:\n(A) a\n(B) b", "(A)")])
    with pytest.raises(UserError, match=r"field benchmark.path: .* does not hold navigate.json"):
        read(path, "snarks", "navigate")
    with pytest.raises(UserError, match=r"field benchmark.path"):
        Bbh(BbhConfig(path=path)).fingerprint()


def test_the_fingerprint_follows_the_tasks_and_their_content(tmp_path):
    def fingerprint(*tasks):
        return Bbh(BbhConfig(path=str(tmp_path), tasks=tasks)).fingerprint()

    folder(tmp_path, snarks=[example("A?", "a")], word_sorting=[example("B?", "b")])
    one, both = fingerprint("snarks"), fingerprint("snarks", "word_sorting")
    folder(tmp_path, word_sorting=[example("C?", "c")])
    assert one != both != fingerprint("snarks", "word_sorting")
    assert one == fingerprint("snarks")


@pytest.mark.parametrize("form", ["text", "letter"])
def test_the_public_files_are_read_and_every_target_is_read_back(public_data, form):
    path = public_data / "bbh" / "tasks"
    if not path.is_dir():
        pytest.skip(f"no bbh in {public_data}")
    found = list(Bbh(BbhConfig(path=str(path))).questions())
    assert len(found) == len({q.question_id for q in found}) == 6511
    assert {q.kind for q in found} == set(TASKS)
    assert sum(q.split == "test" for q in found) == 1304  # as in SKIntern, table 4
    assert Counter(q.kind for q in found if not q.options) == {
        "dyck_languages": 250,
        "multistep_arithmetic_two": 250,
        "object_counting": 250,
        "word_sorting": 250,
        "ruin_names": 2,
        "movie_recommendation": 1,
        "snarks": 1,
    }
    for question in found:
        closing = conclusion(question.options, question.answer, form, question.gold)
        answer = read_answer(f"It is said before. {closing}", question, form)
        assert answer is not None
        assert answer.correct
