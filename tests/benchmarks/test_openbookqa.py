from __future__ import annotations

import json

import pytest

from kard_ray.benchmarks.openbookqa import OpenBookQa, OpenBookQaConfig, fact_key
from kard_ray.knowledge.readers.openbookqa import OpenbookqaCorpus
from kard_ray.runtime.errors import UserError

TEXTS = ("become hot", "float", "melt", "sing")


def original(number, key="A", **more):
    choices = [{"text": text, "label": label} for text, label in zip(TEXTS, "ABCD", strict=True)]
    return {
        "id": f"7-{number}",
        "question": {"stem": f"A spoon {number}", "choices": choices},
        "answerKey": key,
    } | more


def kard(number, label=0):
    endings = {f"ending{i}": text for i, text in enumerate(TEXTS)}
    return {"id": f"7-{number}", "sent1": f"A spoon {number}", "sent2": "", **endings, "label": label}


def read(folder, rows, name="train.jsonl", **config):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(OpenBookQa(OpenBookQaConfig(path=str(folder), **config)).questions())


def test_both_forms_give_the_same_questions(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows = range(20)
    assert read(tmp_path / "a", [original(n, "ABCD"[n % 4]) for n in rows]) == read(
        tmp_path / "b", [kard(n, n % 4) for n in rows], "train.json"
    )


def test_the_fact_is_a_gold_passage_only_where_asked_for(tmp_path):
    rows = [original(n, fact1="Metal conducts heat") for n in range(10)]
    assert all(q.gold_passages == () for q in read(tmp_path, rows, "train_complete.jsonl"))
    found = read(tmp_path, rows, "train_complete.jsonl", gold_passages=True)
    assert {q.gold_passages for q in found} == {(f"core/{fact_key('metal  conducts Heat')}",)}


def test_the_gold_passage_is_the_one_of_the_open_book(tmp_path):
    (tmp_path / "openbook.txt").write_text('"metal conducts heat"\n"the sun is a star"\n', encoding="utf-8")
    corpus = OpenbookqaCorpus(path=str(tmp_path), parts=("core",))
    passages = {d.text: d.source_id for shard in corpus.shards() for d in corpus.read(shard)}
    question = read(tmp_path, [original(0, fact1="Metal conducts heat")], gold_passages=True)[0]
    assert question.gold_passages == (passages["metal conducts heat"],)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answerKey": "E"}, "field answerKey: got 'E'; expected one of A, B, C, D"),
        ({"question": "Which?"}, "field question: got 'Which?'; expected an object"),
        ({"question": {"stem": "", "choices": []}}, "field stem"),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, change, message):
    with pytest.raises(UserError) as error:
        read(tmp_path, [original(0), original(1) | change])
    assert "train.jsonl, line 2, " in str(error.value)
    assert message in str(error.value)
