from __future__ import annotations

import json
from collections import Counter

import pytest

from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.arc import Arc, ArcChallengeConfig, ArcEasyConfig
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.runtime.errors import UserError


def row(number, key="A", labels="ABCD", stem="Which is it?"):
    choices = [{"text": f"thing {label} {number}", "label": label, "para": "x"} for label in labels]
    return {"id": f"r{number}", "question": {"stem": stem, "choices": choices}, "answerKey": key}


def folder(path, **splits):
    for split, rows in splits.items():
        (path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def read(path, kind="arc_challenge"):
    config = {"arc_easy": ArcEasyConfig, "arc_challenge": ArcChallengeConfig}[kind]
    return list(Arc(config(path=path)).questions())


@pytest.mark.parametrize(
    ("labels", "key", "answer"),
    [("ABCD", "C", 2), ("1234", "3", 2), ("ABC", "A", 0), ("ABCDE", "E", 4), ("BADC", "A", 1)],
)
def test_the_key_is_found_among_the_labels_whatever_they_are(tmp_path, labels, key, answer):
    (question,) = read(folder(tmp_path, dev=[row(0, key, labels)]))
    assert question.answer == answer
    assert question.answer_text == f"thing {key} 0"
    assert (question.question_id, question.kind) == ("arc_challenge-r0", "arc_challenge")


def test_a_train_question_of_dev_or_test_is_left_out_of_train(tmp_path):
    again = [row(0), row(1)]
    path = folder(tmp_path, train=[*again, row(2)], dev=[row(0) | {"id": "d"}], test=[row(1) | {"id": "t"}])
    assert [(q.question_id, q.split) for q in read(path, "arc_easy")] == [
        ("arc_easy-r2", "train"),
        ("arc_easy-d", "dev"),
        ("arc_easy-t", "test"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "Which?"}, "field question: got 'Which?'"),
        ({"question": {"stem": "Which?", "choices": []}}, "field question.choices"),
        ({"question": {"stem": "Which?", "choices": ["a", "b"]}}, "field question.choices"),
        ({"question": {"stem": "", "choices": row(0)["question"]["choices"]}}, "field stem"),
        ({"answerKey": "E"}, "field answerKey: got 'E'; expected one of A, B, C, D"),
        ({"answerKey": None}, "field answerKey: got nothing"),
        ({"id": ""}, "field id"),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, change, message):
    with pytest.raises(UserError) as error:
        read(folder(tmp_path, train=[row(0), row(1) | change]))
    assert f"{tmp_path / 'train.jsonl'}, line 2, " in str(error.value)
    assert message in str(error.value)


def test_ids_that_stand_twice_and_folders_without_files_are_errors(tmp_path):
    with pytest.raises(UserError, match=r"benchmark.path: .*none of train.jsonl, dev.jsonl, test.jsonl"):
        read(str(tmp_path))
    with pytest.raises(UserError, match="stands twice"):
        read(folder(tmp_path, train=[row(0), row(0)]))


@pytest.mark.parametrize(("kind", "train", "dev"), [("arc_easy", 2251, 570), ("arc_challenge", 1119, 299)])
@pytest.mark.parametrize("form", ["text", "letter"])
def test_the_public_files_are_read_and_every_answer_is_read_back(public_data, kind, train, dev, form):
    path = public_data / "arc" / kind
    if not path.is_dir():
        pytest.skip(f"no {kind} in {public_data}")
    found = read(str(path), kind)
    counts = Counter(q.split for q in found)
    assert (counts["train"], counts["dev"]) == (train, dev)
    for question in found:
        answer = read_answer(conclusion(question.options, question.answer, form), question, form)
        assert answer is not None
        assert answer.correct
