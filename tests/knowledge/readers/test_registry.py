from __future__ import annotations

import pickle
from typing import get_args

import pytest
from pydantic import TypeAdapter

from kard_ray.knowledge.readers.reader import CorpusReader
from kard_ray.knowledge.readers.registry import Corpus

READERS = get_args(get_args(Corpus)[0])
LONG = {"text", "medquad"}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_can_be_named_in_a_recipe_and_sent_to_a_worker(reader):
    kind = reader.model_fields["kind"].default
    tree = {"kind": kind}
    if kind != "factbook":
        tree["dataset" if kind == "hf" else "path"] = "somewhere"
    corpus: CorpusReader = TypeAdapter(Corpus).validate_python(tree)
    assert type(corpus) is reader
    assert corpus.kind == kind
    assert (kind in LONG) is corpus.LONG
    assert pickle.loads(pickle.dumps(corpus)) == corpus
    assert TypeAdapter(Corpus).validate_python(corpus.content()) == corpus


def test_kinds_are_unique():
    assert len({reader.model_fields["kind"].default for reader in READERS}) == len(READERS) == 10
