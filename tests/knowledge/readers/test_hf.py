from __future__ import annotations

import json
import os
import subprocess
import sys

import datasets
import pytest

from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.readers import hf
from kard_ray.knowledge.readers.fields import FieldMapping
from kard_ray.knowledge.readers.hf import HfCorpus
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all

FIELDS = FieldMapping(id="key", title=None, text="body", date="day")


def rows(count, text="text"):
    return datasets.Dataset.from_dict(
        {
            "key": range(count),
            "body": [f"{text} {n}" if n != 3 else "" for n in range(count)],
            "day": ["2024-01-31"] * count,
            "vector": [[0.5]] * count,
        }
    )


@pytest.fixture(autouse=True)
def _no_progress_and_own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_a_saved_folder_is_read_in_ranges(tmp_path, monkeypatch):
    rows(25).save_to_disk(tmp_path / "saved", num_shards=3)
    monkeypatch.setattr(hf, "_ROWS_PER_SHARD", 10)
    monkeypatch.setattr(hf, "BATCH_ROWS", 4)
    corpus = HfCorpus(dataset=str(tmp_path / "saved"), fields=FIELDS)
    assert len(corpus.shards()) == 3
    documents, bad = read_all(corpus)
    assert [d.source_id for d in documents] == [str(n) for n in range(25) if n != 3]
    assert documents[-1].text == "text 24"
    assert documents[0].date is not None
    assert [(row.where, row.reason) for row in bad] == [
        (f"{tmp_path}/saved:row 4", "field body: expected text that is not empty, got ''")
    ]


def test_a_folder_is_found_from_another_directory(tmp_path, monkeypatch):
    rows(2).save_to_disk(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    corpus = HfCorpus(dataset="saved", fields=FIELDS)
    (shard,) = corpus.shards()
    monkeypatch.chdir("/")
    assert len(list(corpus.read(shard))) == 2


def test_a_split_of_a_saved_folder_is_read(tmp_path):
    splits = {"train": rows(2), "test": rows(1, "other")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    corpus = HfCorpus(dataset=str(tmp_path / "saved"), split="test", fields=FIELDS)
    assert [d.text for d in read_all(corpus)[0]] == ["other 0"]
    assert corpus.fingerprint() != corpus.model_copy(update={"split": "train"}).fingerprint()
    with pytest.raises(UserError, match=r"corpus\.split: .* has no split 'dev'; its splits are: train, test"):
        corpus.model_copy(update={"split": "dev"}).shards()


def test_the_fingerprint_of_a_saved_folder_is_that_of_its_contents(tmp_path):
    for name, text in (("a", "text"), ("b", "text"), ("c", "other")):
        rows(5, text).save_to_disk(tmp_path / name)
    a, b, c = (HfCorpus(dataset=str(tmp_path / name)).fingerprint() for name in "abc")
    assert a == b != c


def test_a_folder_that_changes_while_it_is_read_is_told(tmp_path):
    corpus = HfCorpus(dataset=str(tmp_path / "saved"), fields=FIELDS)
    rows(5).save_to_disk(corpus.dataset)
    (shard,) = corpus.shards()
    rows(5, "other").save_to_disk(corpus.dataset)
    with pytest.raises(
        UserError, match=r"corpus\.dataset: .* is not the same here as where the run was started"
    ):
        list(corpus.read(shard))
    assert len(read_all(corpus)[0]) == 4


def test_mistakes_name_their_field(tmp_path):
    rows(2).save_to_disk(tmp_path / "saved")
    with pytest.raises(
        UserError, match=r"fields\.id: .*saved has no column 'id'; its columns are: key, body"
    ):
        HfCorpus(dataset=str(tmp_path / "saved")).shards()
    rows(0).save_to_disk(tmp_path / "empty")
    with pytest.raises(UserError, match=r"corpus\.dataset: .*empty' has no rows"):
        HfCorpus(dataset=str(tmp_path / "empty"), fields=FIELDS).shards()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset_dict.json").write_text("{}")
    with pytest.raises(UserError, match=r"corpus\.dataset: .*broken.* cannot be loaded"):
        HfCorpus(dataset=str(tmp_path / "broken")).fingerprint()


def test_what_the_library_loads_by_itself_is_read_too(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text(json.dumps({"id": "a", "title": "T", "text": "x"}) + "\n")
    corpus = HfCorpus(dataset=str(tmp_path / "raw"))
    assert read_all(corpus) == ([Document(source_id="a", title="T", text="x")], [])
    assert corpus.fingerprint() == corpus.fingerprint()
    for field in ("split", "config"):
        with pytest.raises(UserError, match=rf"corpus\.{field}: .* cannot be loaded: .*nosuch"):
            corpus.model_copy(update={field: "nosuch"}).shards()


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path):
    program = """
from kard_ray.knowledge.readers.hf import HfCorpus
from kard_ray.runtime.errors import UserError
try:
    HfCorpus(dataset="nobody/nothing", config="en").shards()
except UserError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(
        "recipe field knowledge.corpus.dataset: data set 'nobody/nothing' (config en, split train) "
        "cannot be loaded: Couldn't reach 'nobody/nothing' on the Hub"
    )
    assert len(run.stdout.splitlines()) == 1
