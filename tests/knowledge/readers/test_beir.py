from __future__ import annotations

import gzip

import pytest

from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.readers.beir import BeirCorpus
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all

ROWS = b'{"_id": "a", "title": "", "text": "x", "metadata": {}}\n{"id": "b", "text": "y"}\n'


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_the_corpus_of_a_folder_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(ROWS) if name.endswith(".gz") else ROWS)
    (tmp_path / "queries.jsonl").write_text("not read")
    documents, bad = read_all(BeirCorpus(path=str(tmp_path)))
    assert documents == [Document(source_id="a", title="", text="x")]
    assert [(row.where, row.reason) for row in bad] == [
        (f"{tmp_path / name}:2", "field _id: the row does not have it; its fields are: id, text")
    ]


def test_a_folder_without_a_corpus_is_told(tmp_path):
    with pytest.raises(
        UserError, match=r"corpus\.path: expected corpus\.jsonl or corpus\.jsonl\.gz in folder"
    ):
        BeirCorpus(path=str(tmp_path)).fingerprint()


def test_scifact_is_read(public_data):
    documents, bad = read_all(BeirCorpus(path=str(public_data / "scifact")))
    assert len({document.source_id for document in documents}) == 5183
    assert not bad
    assert next(d for d in documents if d.source_id == "4983").title.startswith("Microstructural development")
