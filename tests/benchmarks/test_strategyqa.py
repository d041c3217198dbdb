from __future__ import annotations

import json
from collections import Counter

import pytest

from kard_ray.benchmarks.strategyqa import StrategyQa, StrategyQaConfig
from kard_ray.runtime.errors import UserError

EVIDENCE = [
    [[["Camel-3", "Desert-1"]], ["operation"]],
    [[["Camel-3"], "no_evidence"], [["Rain-7"]]],
]


def row(number, **more):
    return {
        "qid": f"q{number}",
        "term": "Camel",
        "question": f"Could camel {number} swim?",
        "answer": number % 3 == 0,
        "facts": ["Camels walk."],
        "evidence": EVIDENCE,
    } | more


def read(folder, rows, **config):
    (folder / "strategyqa_train.json").write_text(json.dumps(rows), encoding="utf-8")
    return list(StrategyQa(StrategyQaConfig(path=str(folder), **config)).questions())


def test_true_and_false_become_yes_and_no(tmp_path):
    found = {q.question_id: q.answer_text for q in read(tmp_path, [row(n) for n in range(6)])}
    assert found == {f"strategyqa-q{n}": "yes" if n % 3 == 0 else "no" for n in range(6)}


def test_the_authors_train_file_alone_gives_all_three_splits(tmp_path):
    found = read(tmp_path, [row(n) for n in range(100)], test_fraction=0.3)
    assert Counter(q.split for q in found) == {"train": 60, "dev": 10, "test": 30}


def test_evidence_is_gold_only_where_asked_for_and_without_the_annotators_notes(tmp_path):
    assert read(tmp_path, [row(0)])[0].gold_passages == ()
    (question,) = read(tmp_path, [row(0)], gold_passages=True)
    assert question.gold_passages == ("evidence/Camel-3", "evidence/Desert-1", "evidence/Rain-7")


def test_a_question_without_an_answer_is_a_mistake(tmp_path):
    rows = [row(0), row(1)]
    del rows[1]["answer"]
    with pytest.raises(UserError, match=r"item 2, field answer: got nothing; expected true or false"):
        read(tmp_path, rows)


def test_the_public_annotations_are_read(public_data):
    path = public_data / "strategyqa" / "train_annotations.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    rows = json.loads(path.read_text(encoding="utf-8"))
    benchmark = StrategyQa(StrategyQaConfig(path="x"))
    assert Counter(benchmark.read(row).answer_text for row in rows).total() == 1602
