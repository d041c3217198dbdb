from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.benchmarks.jsonl import Jsonl, JsonlConfig, read_questions
from kard_ray.runtime.errors import UserError

GOOD = {"id": "a", "question": "Which is red?", "options": ["Sky", "Rose"], "answer": "rose "}


def write(path, *rows):
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def mistake(tmp_path, row):
    with pytest.raises(UserError) as error:
        read_questions(write(tmp_path / "q.jsonl", row), "test")
    return str(error.value)


def test_an_answer_may_be_text_in_any_case_or_an_index(tmp_path):
    path = write(
        tmp_path / "q.jsonl", GOOD, "\n", {**GOOD, "id": 7, "answer": 0, "passages": ["p1"], "kind": "color"}
    )
    first, second = read_questions(path, "dev")
    assert (first.question_id, first.split, first.answer, first.answer_text) == ("a", "dev", 1, "Rose")
    assert (second.question_id, second.answer, second.gold_passages, second.kind) == (
        "7",
        0,
        ("p1",),
        "color",
    )


@pytest.mark.parametrize(
    ("change", "field", "found"),
    [
        ({"id": None}, "field id", "got nothing"),
        ({"id": True}, "field id", "got True"),
        ({"question": " "}, "field question", "got ' '"),
        ({"options": ["one"]}, "field options", "at least 2"),
        ({"options": ["one", "One "]}, "field options", "all differ"),
        ({"options": "one, two"}, "field options", "list of texts"),
        (
            {"answer": "Blue"},
            "field answer",
            "got 'Blue'; expected one of ['Sky', 'Rose'] or an index from 0 to 1",
        ),
        ({"answer": 2}, "field answer", "got 2"),
        ({"answer": True}, "field answer", "got True"),
        ({"answer": None}, "field answer", "got nothing"),
        ({"passages": "p1"}, "field passages", "list of texts"),
        ({"kind": 3}, "field kind", "got 3"),
        ({"question": "\ud800"}, "field question", "Unicode"),
    ],
)
def test_a_mistake_names_file_line_field_and_what_was_found(tmp_path, change, field, found):
    message = mistake(tmp_path, {**GOOD, **change})
    assert f"file {tmp_path / 'q.jsonl'}, line 1, {field}" in message
    assert found in message


@pytest.mark.parametrize("line", ["{", "[1]", '"x"', "3", "null"])
def test_a_line_that_is_no_object_is_a_mistake(tmp_path, line):
    assert "line 1, whole line" in mistake(tmp_path, line)


@pytest.mark.parametrize(("answer", "gold"), [("72", "72"), (72, "72"), (0.5, "0.5"), (" a b ", "a b")])
def test_a_question_with_an_empty_list_of_options_is_open(tmp_path, answer, gold):
    path = write(tmp_path / "q.jsonl", {**GOOD, "options": [], "answer": answer})
    (question,) = read_questions(path, "test")
    assert (question.options, question.answer, question.gold) == ((), -1, gold)


@pytest.mark.parametrize("answer", ["", True, None, ["72"]])
def test_an_open_question_needs_an_answer(tmp_path, answer):
    row = {**GOOD, "options": [], "answer": answer}
    assert "line 1, field answer" in mistake(tmp_path, row)


def test_every_mistake_is_listed_up_to_twenty_and_then_counted(tmp_path):
    path = write(tmp_path / "q.jsonl", *[{**GOOD, "id": i, "answer": "Blue"} for i in range(25)], GOOD)
    with pytest.raises(UserError) as error:
        read_questions(path, "test")
    lines = str(error.value).split("\n")
    assert len(lines) == 21
    assert "line 20," in lines[19]
    assert "25 lines are wrong" in lines[20]


def test_duplicate_ids_are_an_error_within_and_across_files(tmp_path):
    assert "'a' also stands on line 1" in mistake(tmp_path, json.dumps(GOOD) + "\n" + json.dumps(GOOD))
    train, test = write(tmp_path / "train.jsonl", GOOD), write(tmp_path / "test.jsonl", GOOD)
    with pytest.raises(UserError, match=r"'a' is also in .*train.jsonl"):
        list(Jsonl(JsonlConfig(train=str(train), test=str(test))).questions())


def test_empty_and_missing_files_are_told(tmp_path):
    assert "is empty" in mistake(tmp_path, "\n \n")
    with pytest.raises(UserError, match="does not exist"):
        read_questions(tmp_path / "none.jsonl", "test")
    with pytest.raises(UserError, match="cannot be read"):
        read_questions(tmp_path, "test")
    with pytest.raises(UserError, match="none of train, dev, test"):
        list(Jsonl(JsonlConfig()).questions())


def test_a_byte_order_mark_and_carriage_returns_are_no_mistake(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    assert read_questions(path, "test")[0].question_id == "a"


def test_bytes_that_are_not_utf8_are_a_mistake(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"id": "\xff"}')
    with pytest.raises(UserError, match="not JSON in UTF-8"):
        read_questions(path, "test")


def test_a_benchmark_of_own_files_has_splits_examples_and_a_fingerprint_of_their_content(tmp_path):
    train = write(tmp_path / "train.jsonl", GOOD)
    test = write(tmp_path / "test.jsonl", {**GOOD, "id": "b"})
    examples = write(
        tmp_path / "examples.jsonl", {**GOOD, "passages": ["Roses are red."], "rationale": "A rose is red."}
    )
    benchmark = Jsonl(JsonlConfig(train=str(train), test=str(test), examples=str(examples), name="colors"))
    assert benchmark.name == "colors"
    assert [(q.question_id, q.split) for q in benchmark.questions()] == [("a", "train"), ("b", "test")]
    (example,) = benchmark.examples("")
    assert (example.answer, example.passages, example.rationale) == (1, ("Roses are red.",), "A rose is red.")
    before = benchmark.fingerprint()
    write(test, {**GOOD, "id": "c"})
    assert benchmark.fingerprint() != before
    assert Jsonl(JsonlConfig(train=str(train))).examples("") == ()


def test_an_example_without_rationale_is_a_mistake(tmp_path):
    examples = write(tmp_path / "examples.jsonl", GOOD)
    with pytest.raises(UserError, match="line 1, field rationale: got nothing"):
        Jsonl(JsonlConfig(train="x", examples=str(examples))).examples("")


def test_an_unknown_key_in_the_configuration_is_refused():
    with pytest.raises(ValidationError, match="trian"):
        JsonlConfig(trian="x")


plain = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
rows = st.builds(
    lambda question, options, place, as_text: {
        "question": question,
        "options": options,
        "answer": options[place % len(options)] if as_text else place % len(options),
    },
    plain,
    st.lists(plain, min_size=2, max_size=5, unique_by=lambda text: text.strip().casefold()),
    st.integers(0, 4),
    st.booleans(),
)


@given(st.lists(rows, min_size=1, max_size=4))
def test_what_was_written_is_read_back(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("jsonl") / "q.jsonl"
    write(path, *[{"id": str(i), **row} for i, row in enumerate(written)])
    for row, question in zip(written, read_questions(path, "train"), strict=True):
        assert question.question == row["question"].strip()
        assert question.options == tuple(option.strip() for option in row["options"])
        expected = row["answer"] if isinstance(row["answer"], int) else row["options"].index(row["answer"])
        assert question.answer == expected


def outcome(path):
    """The questions of ``path``, or the sentence that refuses it; any other exception fails the test."""
    try:
        return read_questions(path, "train"), ""
    except UserError as error:
        return [], str(error)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("jsonl") / "q.jsonl"
    path.write_bytes(data)
    questions, refusal = outcome(path)
    assert questions or str(path) in refusal


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(
    st.dictionaries(st.sampled_from(["id", "question", "options", "answer", "passages", "kind"]), json_values)
)
def test_any_values_are_read_or_refused_in_a_sentence(tmp_path_factory, row):
    questions, refusal = outcome(write(tmp_path_factory.mktemp("jsonl") / "q.jsonl", row))
    if not refusal and not questions[0].options:
        assert (questions[0].answer, questions[0].gold != "") == (-1, True)
    else:
        assert "line 1, field " in refusal or 0 <= questions[0].answer < len(questions[0].options)
