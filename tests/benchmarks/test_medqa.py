from __future__ import annotations

import json

import pytest

from kard_ray.benchmarks.medqa import MedQa, MedQaConfig
from kard_ray.runtime.errors import UserError


def row(number, key="B", **more):
    return {
        "question": f"A man of {number} years coughs. Why?",
        "answer": "A drug",
        "options": {"A": "A cold", "B": "A drug", "C": "Dust", "D": "Smoke"},
        "meta_info": "step1",
        "answer_idx": key,
    } | more


def read(folder, **splits):
    for split, rows in splits.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"phrases_no_exclude_{split}.jsonl").write_text(text, encoding="utf-8")
    return list(MedQa(MedQaConfig(path=str(folder))).questions())


def test_the_original_form_is_read_and_ids_follow_from_the_content(tmp_path):
    (question,) = read(tmp_path, test=[row(40)])
    assert (question.options, question.answer_text) == (("A cold", "A drug", "Dust", "Smoke"), "A drug")
    assert question.question_id.startswith("medqa-")
    other = tmp_path / "other"
    other.mkdir()
    again = read(other, test=[row(39), row(40)])
    assert [q.question_id for q in again][1] == question.question_id
    assert len({q.question_id for q in again}) == 2


def test_a_train_question_of_the_test_file_is_left_out(tmp_path):
    found = read(tmp_path, train=[row(1), row(2)], dev=[row(3)], test=[row(2)])
    assert [q.split for q in found] == ["train", "dev", "test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": ["a", "b"]}, "field options: got ['a', 'b']; expected an object"),
        ({"options": {"A": "a", "B": ""}}, "field B: got ''"),
        ({"answer_idx": "F"}, "field answer_idx: got 'F'; expected one of A, B, C, D"),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, change, message):
    with pytest.raises(UserError) as error:
        read(tmp_path, dev=[row(0), row(1, **change)])
    assert "phrases_no_exclude_dev.jsonl, line 2, " in str(error.value)
    assert message in str(error.value)
