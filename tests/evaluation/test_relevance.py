from __future__ import annotations

import gzip
import os
from collections import Counter
from pathlib import Path

import pytest

from kard_ray.evaluation.relevance import judged, read_judgements, read_queries
from kard_ray.runtime.errors import UserError


def file(folder, name, text):
    path = folder / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["queries.jsonl", "queries.jsonl.gz"])
def test_queries_are_read_in_order(tmp_path, name):
    path = file(
        tmp_path, name, '\ufeff{"_id": "b", "text": "Is ä?"}\n\n{"text": "Two", "_id": 7, "metadata": {}}'
    )
    assert list(read_queries(path).items()) == [("b", "Is ä?"), ("7", "Two")]
    assert read_queries(str(path)) == read_queries(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("beir.tsv", "query-id\tcorpus-id\tscore\nq 1\td1\t2\nq 1\td2\t0\nq2\td1\t1\n"),
        ("ordered.tsv", "corpus-id\tscore\tquery-id\r\nd1\t2\tq 1\r\nd2\t0\tq 1\r\nd1\t1\tq2\r\n"),
        ("bare.tsv", "q 1\td1\t2\nq 1\td2\t0\nq2\td1\t1"),
        ("trec.tsv.gz", "q 1\t0\td1\t2\nq 1\t0\td2\t0\nq2\t0\td1\t1\nq2\t0\td1\t1\n"),
    ],
)
def test_judgements_are_read_in_each_layout(tmp_path, name, text):
    assert read_judgements(file(tmp_path, name, text)) == {"q 1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}


def test_trec_columns_may_be_parted_by_spaces(tmp_path):
    path = file(tmp_path, "qrels", "301 0 FBIS3-1 -1\n301  0  FBIS3-2  1\n")
    assert read_judgements(path) == {"301": {"FBIS3-1": -1, "FBIS3-2": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: got []; expected an object"),
        ('{"text": "a"}', "line 1, field _id: got nothing"),
        ('{"_id": true, "text": "a"}', "line 1, field _id: got true"),
        ('{"_id": "a", "text": " "}', 'line 1, field text: got " "'),
        (
            '{"_id": "a", "text": "b"}\n{"_id": "a", "text": "c"}',
            "line 2, field _id: 'a' also stands on line 1",
        ),
        (b'{"_id": "a", "text": "b"}\n\xff', "line 2: not UTF-8"),
        ("\n\n", "is empty"),
    ],
)
def test_a_mistake_in_queries_names_file_and_line(tmp_path, text, message):
    path = file(tmp_path, "queries.jsonl", text)
    with pytest.raises(UserError) as error:
        read_queries(path)
    assert f"file {path}" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1\td1", "line 1: got 2 columns; expected three columns"),
        ("query-id\tcorpus-id\tscore\nq1\td1\n", "line 2: got 2 columns; expected as many as the header"),
        ("q1\td1\t1\nq1\td2\tgood", "line 2: got the grade 'good'"),
        ("q1\td1\t0.5", "line 1: got the grade '0.5'; expected an integer"),
        ("\td1\t1", "line 1: got an empty id"),
        (
            "q1\td1\t1\nq1\td1\t2",
            "line 2: query 'q1' and document 'd1' have the grade 2, on an earlier line 1",
        ),
        ("query-id\tcorpus-id\tscore\n", "holds no judgement"),
    ],
)
def test_a_mistake_in_judgements_names_file_and_line(tmp_path, text, message):
    path = file(tmp_path, "qrels.tsv", text)
    with pytest.raises(UserError) as error:
        read_judgements(path)
    assert f"file {path}" in str(error.value)
    assert message in str(error.value)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        read_queries(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        read_queries(tmp_path)
    broken = gzip.compress(b'{"_id": "a", "text": "b"}\n' * 1000)[:-12]
    (tmp_path / "queries.jsonl.gz").write_bytes(broken)
    with pytest.raises(UserError, match=r"cannot be read|also stands"):
        read_queries(tmp_path / "queries.jsonl.gz")
    (tmp_path / "no.gz").write_bytes(b"plain text")
    with pytest.raises(UserError, match="cannot be read"):
        read_judgements(tmp_path / "no.gz")


def test_only_queries_with_a_positive_judgement_are_judged():
    queries = {"b": "B?", "a": "A?", "c": "C?"}
    judgements = {"a": {"d": 1, "e": 0}, "b": {"d": 2}, "c": {"d": 0}, "other": {"d": 1}}
    assert list(judged(queries, judgements).items()) == [("b", {"d": 2}), ("a", {"d": 1, "e": 0})]
    with pytest.raises(UserError, match="none of the 1 queries"):
        judged({"c": "C?"}, judgements)


def test_the_public_files_are_read():
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("KARD_RAY_DATA", default)) / "scifact"
    if not folder.is_dir():
        pytest.skip(
            f"no public retrieval data in {folder}; set KARD_RAY_DATA to the folder that holds scifact"
        )
    queries = read_queries(folder / "queries_train.jsonl")
    judgements = read_judgements(folder / "qrels_train.tsv")
    assert len(queries) == 809
    assert sum(len(grades) for grades in judgements.values()) == 919
    assert len(judged(queries, judgements)) == 809
    assert Counter(grade for grades in judgements.values() for grade in grades.values()) == {1: 919}
