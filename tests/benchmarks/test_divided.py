from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kard_ray.benchmarks.registry import BenchmarkConfig, load_benchmark
from kard_ray.runtime.errors import UserError


def configured(**tree):
    return TypeAdapter(BenchmarkConfig).validate_python(tree)


def row(number, question="Is it so?", endings=("yes", "no", "", ""), label=0):
    return {
        "id": f"r-{number}",
        "sent1": question,
        "sent2": "",
        **{f"ending{i}": ending for i, ending in enumerate(endings)},
        "label": label,
    }


def folder(path, **splits):
    for split, rows in splits.items():
        text = "".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows)
        (path / f"{split}.json").write_text(text, encoding="utf-8")
    return str(path)


def read(path, kind="openbookqa", **config):
    return list(load_benchmark(configured(kind=kind, path=path, **config)).questions())


def test_empty_endings_are_no_options(tmp_path):
    (question,) = read(folder(tmp_path, test=[row(0, label=1)]), "strategyqa")
    assert question.options == ("yes", "no")
    assert (question.answer, question.split, question.question_id) == (1, "test", "strategyqa-r-0")


def test_strategyqa_makes_its_dev_split_from_train_and_ignores_the_dev_file(tmp_path):
    rows = [row(i, f"Is it {i}?") for i in range(50)]
    path = folder(tmp_path, train=rows, dev=[row("d", "Is it dev?")], test=[row("t", "Is it test?")])
    found = read(path, "strategyqa", dev_fraction=0.2)
    assert Counter(q.split for q in found) == {"train": 40, "dev": 10, "test": 1}
    assert not any("dev?" in q.question for q in found)
    assert found == read(path, "strategyqa", dev_fraction=0.2)
    assert found != read(path, "strategyqa", dev_fraction=0.2, seed=1)


def test_questions_of_the_same_text_stay_on_one_side(tmp_path):
    rows = [row(i, f"Which is {i // 4}?", ("a", f"b{i}")) for i in range(80)]
    sides = {}
    for question in read(folder(tmp_path, train=rows), dev_fraction=0.3):
        assert sides.setdefault(question.question, question.split) == question.split
    assert Counter(sides.values()) == {"train": 14, "dev": 6}


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.floats(0.05, 0.5),
    st.one_of(st.none(), st.floats(0.05, 0.5)),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_wording_is_on_two_sides_and_the_order_of_the_file_decides_nothing(
    tmp_path, numbers, dev_fraction, test_fraction, seed, rng
):
    rows = [row(i, f"Which is {n}?", ("a", f"b{i}")) for i, n in enumerate(numbers)]
    division = {"dev_fraction": dev_fraction, "test_fraction": test_fraction, "seed": seed}
    splits = {q.question_id: q.split for q in read(folder(tmp_path, train=rows), **division)}
    rng.shuffle(rows)
    found = read(folder(tmp_path, train=rows), **division)
    assert {q.question_id: q.split for q in found} == splits
    assert len(found) == len(rows)
    sides = {}
    for question in found:
        assert sides.setdefault(question.question, question.split) == question.split
    assert sum(side == "dev" for side in sides.values()) == round(len(sides) * dev_fraction)


def test_a_train_question_that_stands_in_test_is_left_out_of_train(tmp_path):
    path = folder(
        tmp_path, train=[row(0, "Same?"), row(1, "Other?")], dev=[row(2, "Dev?")], test=[row(3, "same? ")]
    )
    assert [(q.question, q.split) for q in read(path)] == [
        ("Other?", "train"),
        ("Dev?", "dev"),
        ("same?", "test"),
    ]


def test_dev_is_made_from_train_where_the_recipe_says_so_and_the_dev_file_is_left_unread(tmp_path):
    rows = [row(i, f"Is it {i}?") for i in range(50)]
    path = folder(tmp_path, train=rows, dev=["not even JSON"], test=[row("t", "Is it test?")])
    found = read(path, dev_from="train", dev_fraction=0.2)
    assert Counter(q.split for q in found) == {"train": 40, "dev": 10, "test": 1}
    assert {q.question_id for q in found} == {*(f"openbookqa-r-{i}" for i in range(50)), "openbookqa-r-t"}


def test_test_is_made_from_train_only_when_asked_and_only_without_a_test_file(tmp_path):
    rows = [row(i, f"Is it {i}?") for i in range(50)]
    path = folder(tmp_path, train=rows, dev=[row("d", "Is it dev?")])
    assert Counter(q.split for q in read(path)) == {"train": 50, "dev": 1}
    both = read(path, dev_from="train", test_fraction=0.2)
    assert Counter(q.split for q in both) == {"train": 35, "dev": 5, "test": 10}
    dev_alone = {q.question_id for q in read(path, dev_from="train") if q.split == "dev"}
    assert dev_alone == {q.question_id for q in both if q.split == "dev"}
    folder(tmp_path, test=[row("t", "Is it test?")])
    assert Counter(q.split for q in read(path, test_fraction=0.2)) == {"train": 50, "dev": 1, "test": 1}


def test_a_division_that_is_not_made_is_no_part_of_what_keys_an_artifact():
    config = configured(kind="medqa", path="x")
    assert config.content() == {"kind": "medqa", "path": "x", "dev_fraction": 0.1, "seed": 0}
    asked = configured(kind="medqa", path="x", dev_from="train", test_fraction=0.2).content()
    assert (asked["dev_from"], asked["test_fraction"]) == ("train", 0.2)


def test_missing_files_give_no_rows_but_none_at_all_is_an_error(tmp_path):
    assert [q.split for q in read(folder(tmp_path, dev=[row(0)]), "medqa")] == ["dev"]
    with pytest.raises(UserError, match=r"holds none of train.json, dev.json, test.json"):
        read(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "whole line: not JSON"),
        ("[]\n", "expected a JSON object"),
        (row(1, " "), "field sent1"),
        (row(1, endings=("", "no")), "field ending0"),
        (row(1, endings=("yes",)), "field ending0"),
        (row(1, label=2), "field label: got 2; expected an index from 0 to 1"),
        (row(1, label=True), "field label"),
    ],
)
def test_a_mistake_names_file_line_and_field(tmp_path, bad, message):
    with pytest.raises(UserError) as error:
        read(folder(tmp_path, train=[row(0), bad]))
    assert f"{tmp_path / 'train.json'}, line 2, " in str(error.value)
    assert message in str(error.value)


def test_an_id_that_stands_twice_is_an_error(tmp_path):
    with pytest.raises(UserError, match="stands twice"):
        read(folder(tmp_path, train=[row(0, "One?"), row(0, "Two?")], dev=[row(1)]))


@pytest.mark.parametrize("kind", ["medqa", "strategyqa", "openbookqa"])
def test_each_benchmark_has_three_worked_examples(kind):
    examples = load_benchmark(configured(kind=kind, path="x")).examples(kind)
    assert len(examples) == 3
    for example in examples:
        assert 0 <= example.answer < len(example.options)
        assert "answer is" not in example.rationale
        assert len(example.rationale.split()) <= 45


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("openbookqa", {"train": 4957, "dev": 500}),
        ("strategyqa", {"train": 1443, "dev": 160}),
        ("medqa", {"dev": 1272}),
    ],
)
def test_the_public_files_are_read(public_data, kind, counts):
    path = public_data / kind
    if not path.is_dir():
        pytest.skip(f"no {kind} in {public_data}")
    found = read(str(path), kind)
    for split, count in counts.items():
        assert sum(q.split == split for q in found) == count
    assert (
        not {q.question for q in found if q.split == "train"}
        & {q.question for q in found if q.split == "dev"}
        or kind == "openbookqa"
    )
