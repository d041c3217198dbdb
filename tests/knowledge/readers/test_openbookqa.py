from __future__ import annotations

import pytest
from pydantic import ValidationError

from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.readers.openbookqa import OpenbookqaCorpus
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all


def folder(tmp_path, core, crowdsourced=None):
    (tmp_path / "openbook.txt").write_bytes(core)
    if crowdsourced is not None:
        (tmp_path / "crowdsourced-facts.txt").write_bytes(crowdsourced)
    return str(tmp_path)


def test_facts_are_documents_with_ids_of_their_part_and_words(tmp_path):
    path = folder(tmp_path, b'"A bee flies"\n"It is 5\'"\n', b'\n a  bee FLIES \r\n\nsay "bee"\n')
    documents, bad = read_all(OpenbookqaCorpus(path=path))
    assert [(d.text, d.source) for d in documents] == [
        ("A bee flies", "core"),
        ("It is 5'", "core"),
        ("a  bee FLIES", "crowdsourced"),
        ('say "bee"', "crowdsourced"),
    ]
    assert not bad
    first, second = documents[0].source_id, documents[2].source_id
    assert first == "core/e120eb185bce5aad"
    assert second == first.replace("core", "crowdsourced")


def test_repeats_and_bytes_that_are_not_utf8_are_bad_rows(tmp_path):
    path = folder(tmp_path, b'"A bee flies"\n\n"a bee  flies"\n"caf\xe9"\n""\n"a Bee flies"\n')
    documents, bad = read_all(OpenbookqaCorpus(path=path, parts=["core"]))
    assert [d.text for d in documents] == ["A bee flies"]
    assert [(row.where.rpartition(":")[2], row.reason) for row in bad] == [
        ("3", "repeats line 1"),
        ("4", "not UTF-8"),
        ("5", "field text: expected text that is not empty, got ''"),
        ("6", "repeats line 1"),
    ]


def test_a_part_that_is_not_there_is_told(tmp_path):
    path = folder(tmp_path, b'"A bee flies"\n')
    assert len(OpenbookqaCorpus(path=path, parts=["core", "core"]).shards()) == 1
    with pytest.raises(UserError, match=r"corpus\.path: expected crowdsourced-facts\.txt in folder"):
        OpenbookqaCorpus(path=path).shards()
    with pytest.raises(ValidationError):
        OpenbookqaCorpus(path=path, parts=[])


def test_the_public_facts_are_read(public_data):
    corpus = OpenbookqaCorpus(path=str(public_data / "openbookqa"))
    documents, bad = read_all(corpus)
    assert documents[0] == Document(
        source_id=documents[0].source_id,
        title="",
        text="A bee is a pollinating animal",
        source="core",
        language="en",
    )
    assert sum(d.source == "core" for d in documents) == 1326
    assert sum(d.source == "crowdsourced" for d in documents) == 5155
    assert len({d.source_id for d in documents}) == len(documents)
    assert len(bad) == 11
    assert all(row.reason.startswith("repeats line ") for row in bad)
