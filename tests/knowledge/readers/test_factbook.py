from __future__ import annotations

import json

from kard_ray.benchmarks import factbook_data
from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.readers.factbook import FactbookCorpus


def test_the_passages_of_every_entry_are_documents():
    corpus = FactbookCorpus()
    codes = [json.loads(shard) for shard in corpus.shards()]
    assert [code for group in codes for code in group] == list(factbook_data.country_codes())
    assert {len(group) for group in codes[:-1]} == {16}
    documents = list(corpus.read(corpus.shards()[1]))
    assert [(d.source_id, d.title, d.text) for d in documents if isinstance(d, Document)] == [
        (p.passage_id, p.title, p.text) for code in codes[1] for p in factbook_data.passages_of(code)
    ]
    assert {(d.source, d.language) for d in documents if isinstance(d, Document)} == {("factbook", "en")}
