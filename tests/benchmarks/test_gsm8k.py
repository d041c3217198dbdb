from __future__ import annotations

import json
from collections import Counter

import pytest

from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.gsm8k import Gsm8k, Gsm8kConfig
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.runtime.errors import UserError


def row(number, answer="It is so.\n#### 72"):
    return {"question": f"How many are {number}?", "answer": answer}


def folder(path, **splits):
    for split, rows in splits.items():
        (path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def read(path, **config):
    return list(Gsm8k(Gsm8kConfig(path=path, **config)).questions())


def test_questions_are_open_and_their_answer_is_the_number_behind_the_hashes(tmp_path):
    (question,) = read(folder(tmp_path, test=[row(0, "6 * 200 = 1,200\n#### 1,200")]))
    assert (question.options, question.answer, question.gold) == ((), -1, "1200")
    assert (question.split, question.question) == ("test", "How many are 0?")
    assert question.question_id.startswith("gsm8k-")


def test_dev_is_a_fixed_part_of_train(tmp_path):
    path = folder(tmp_path, train=[row(n) for n in range(100)], test=[row(n) for n in range(200, 210)])
    found = read(path)
    assert Counter(q.split for q in found) == {"train": 90, "dev": 10, "test": 10}
    assert found == read(path)
    dev = {q.question for q in found if q.split == "dev"}
    assert dev < {q.question for q in read(path, dev_fraction=0.3) if q.split == "dev"}


def test_the_order_of_the_file_does_not_decide_the_split(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    rows = [row(n) for n in range(60)]
    first = {q.question_id: q.split for q in read(folder(one, train=rows))}
    assert first == {q.question_id: q.split for q in read(folder(two, train=rows[::-1]))}


def test_a_train_question_that_stands_in_test_is_left_out_of_train(tmp_path):
    rows = [row(n) for n in range(10)]
    found = read(folder(tmp_path, train=rows, test=[row(3)]))
    assert Counter(q.split for q in found) == {"train": 8, "dev": 1, "test": 1}
    assert len({q.question_id for q in found}) == 10


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"question": "?", "answer": "72"}, "field answer: got ...'72'; expected '#### NUMBER' at its end"),
        ({"question": "?", "answer": "#### many"}, "field answer"),
        ({"question": "?", "answer": "#### 7 or 8"}, "field answer"),
        ({"question": " ", "answer": "#### 7"}, "field question"),
        ({"question": "?"}, "field answer: got nothing"),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, bad, message):
    with pytest.raises(UserError) as error:
        read(folder(tmp_path, train=[row(0), bad]))
    assert f"{tmp_path / 'train.jsonl'}, line 2, " in str(error.value)
    assert message in str(error.value)


def test_a_folder_without_the_files_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"benchmark.path: .*none of train.jsonl, test.jsonl"):
        read(str(tmp_path))
    with pytest.raises(UserError, match=r"benchmark.path"):
        Gsm8k(Gsm8kConfig(path=str(tmp_path))).fingerprint()


def test_the_fingerprint_follows_the_content(tmp_path):
    before = Gsm8k(Gsm8kConfig(path=folder(tmp_path, train=[row(0)]))).fingerprint()
    assert Gsm8k(Gsm8kConfig(path=folder(tmp_path, train=[row(1)]))).fingerprint() != before


def test_the_public_files_are_read_and_every_answer_is_read_back(public_data):
    path = public_data / "gsm8k"
    if not path.is_dir():
        pytest.skip(f"no gsm8k in {public_data}")
    found = read(str(path))
    assert Counter(q.split for q in found) == {"train": 6725, "dev": 748, "test": 1319}
    assert len({q.question_id for q in found}) == len({q.question for q in found}) == 8792
    for question in found:
        answer = read_answer(conclusion((), -1, "text", question.gold), question, "text")
        assert answer is not None
        assert (answer.text, answer.correct) == (question.gold, True)
