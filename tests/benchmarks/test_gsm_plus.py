from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.gsm_plus import PERTURBATIONS, GsmPlus, GsmPlusConfig, plus_question
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.runtime.errors import UserError


def variants(seed):
    """The eight variants of one seed question."""
    return [
        {
            "question": f"What are {seed} and {n} apples?",
            "solution": "",
            "answer": "None" if kind == "critical thinking" else str(seed + n),
            "perturbation_type": kind,
            "seed_question": f"What are {seed} and 1 apples?",
            "seed_answer": str(seed + 1),
        }
        for n, kind in enumerate(PERTURBATIONS)
    ]


def read(folder, rows, name="test.jsonl", **config):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(GsmPlus(GsmPlusConfig(path=str(folder), **config)).questions())


def test_every_question_is_a_test_question_and_its_alteration_is_its_kind(tmp_path):
    found = read(tmp_path, variants(3))
    assert {q.split for q in found} == {"test"}
    assert [q.kind for q in found] == list(PERTURBATIONS)
    assert len({q.question_id for q in found}) == 8


@pytest.mark.parametrize(
    "name", ["testmini.jsonl", "gsmplus_testmini.jsonl", "data/testmini-00000-of-00001.jsonl"]
)
def test_the_smaller_version_is_found_under_its_names(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    assert len(read(tmp_path, variants(3), name, version="testmini")) == 8


def test_chosen_alterations_alone_are_read(tmp_path):
    found = read(tmp_path, variants(3), perturbations=("digit expansion", "adding operation"))
    assert [q.kind for q in found] == ["digit expansion", "adding operation"]


def test_variants_of_one_question_never_part(tmp_path):
    found = read(tmp_path, [row for seed in range(20) for row in variants(seed)], dev_fraction=0.25)
    assert Counter(q.split for q in found) == {"dev": 40, "test": 120}
    sides = {}
    for question in found:
        seed = question.question.split()[2]
        assert sides.setdefault(seed, question.split) == question.split


@given(st.sampled_from(["7", "-3", "1,200", "0.5", "1/3", "2 1/2", "None"]))
def test_every_gold_answer_is_read_back(gold):
    row = variants(3)[0] | {"answer": gold}
    question, _ = plus_question(row, 1)
    answer = read_answer("It is so. " + conclusion((), -1, "text", question.gold), question, "text")
    assert answer is not None
    assert answer.correct


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "many"}, "field answer: got 'many'; expected a number or None"),
        ({"perturbation_type": "other"}, "field perturbation_type: got 'other'"),
        ({"seed_question": None}, "field seed_question: got nothing"),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, change, message):
    rows = variants(3)
    with pytest.raises(UserError) as error:
        read(tmp_path, [rows[0], rows[1] | change])
    assert "test.jsonl, line 2, " in str(error.value)
    assert message in str(error.value)


def test_a_missing_file_is_told_with_the_field(tmp_path):
    with pytest.raises(
        UserError, match=r"benchmark.path: .* does not hold test.jsonl; .* of benchmark.version"
    ):
        list(GsmPlus(GsmPlusConfig(path=str(tmp_path))).questions())
