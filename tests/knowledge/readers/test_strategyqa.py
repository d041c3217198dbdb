from __future__ import annotations

import json

import pytest

from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.readers import lines
from kard_ray.knowledge.readers.strategyqa import StrategyqaCorpus
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all


def folder(tmp_path, wikipedia, evidence):
    for name, rows in (("wikipedia_passages.jsonl", wikipedia), ("evidence_paragraphs.jsonl", evidence)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return StrategyqaCorpus(path=str(tmp_path))


def test_titles_are_taken_from_documents_and_ids(tmp_path, monkeypatch):
    corpus = folder(
        tmp_path,
        [{"docid": "1_2", "document": "A. B. C (film) . It is . a film."}],
        [{"pid": "Spider-Man-75", "sentences": ["It is one.", "It is two."]}],
    )
    expected = [
        Document(
            source_id="wikipedia/1_2",
            title="A. B. C (film)",
            text="It is . a film.",
            source="wikipedia",
            language="en",
        ),
        Document(
            source_id="evidence/Spider-Man-75",
            title="Spider-Man",
            text="It is one. It is two.",
            source="evidence",
            language="en",
        ),
    ]
    assert read_all(corpus) == (expected, [])
    monkeypatch.setattr(lines, "SHARD_BYTES", 20)
    assert len(corpus.shards()) > 4
    assert read_all(corpus) == (expected, [])
    assert read_all(corpus.model_copy(update={"parts": ("evidence",)})) == (expected[1:], [])


def test_rows_of_another_shape_are_bad_rows(tmp_path):
    wikipedia = [
        {"docid": 5, "document": "A . b"},
        {"document": "A . b"},
        {"docid": "1", "document": "no title"},
        {"docid": "1", "document": "A . "},
        {"docid": "1", "document": None},
        [],
    ]
    evidence = [
        {"pid": "75", "sentences": ["x"]},
        {"pid": 5, "sentences": ["x"]},
        {"pid": "A-1", "sentences": "x"},
        {"pid": "A-1", "sentences": [5]},
        {"pid": "A-1", "sentences": []},
        {"pid": "A-1"},
    ]
    documents, bad = read_all(folder(tmp_path, wikipedia, evidence))
    assert not documents
    assert len(bad) == len(wikipedia) + len(evidence)
    assert [row.where.rpartition(":")[2] for row in bad] == list("123456") * 2
    assert 'expected docid, and a document such as "Title . text"' in {row.reason for row in bad}
    assert 'expected a pid such as "Title-75", and a list of sentences' in {row.reason for row in bad}


def test_a_folder_without_the_files_is_told(tmp_path):
    with pytest.raises(
        UserError, match=r"corpus\.path: expected wikipedia_passages\.jsonl\.gz or wikipedia_passages"
    ):
        StrategyqaCorpus(path=str(tmp_path)).shards()


def test_the_public_paragraphs_are_read(public_data):
    documents, bad = read_all(StrategyqaCorpus(path=str(public_data / "strategyqa")))
    assert sum(d.source == "wikipedia" for d in documents) == 11_678
    assert sum(d.source == "evidence" for d in documents) == 17_645
    assert len({d.source_id for d in documents}) == len(documents)
    assert all(d.title for d in documents)
    assert [row.reason for row in bad] == ["field text: expected text that is not empty, got ''"] * 2
