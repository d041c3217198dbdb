"""The corpora of the retrieval benchmark: tables of passage_id and content, and queries by kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SEED = 0
Queries = dict[str, list[str]]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for line in file:
            yield json.loads(line)


def scifact() -> tuple[Iterator[pa.Table], Queries]:
    """SciFact's abstracts and its train claims that have a judgement."""
    folder = DATA / "scifact"
    rows = [(row["_id"], f"{row['title']}\n{row['text']}") for row in lines(folder / "corpus.jsonl.gz")]
    judged = judgements()
    claims = [row["text"] for row in lines(folder / "queries_train.jsonl") if row["_id"] in judged]
    return iter([table(rows)]), {"claims": claims}


def judgements() -> dict[str, dict[str, int]]:
    """SciFact's train judgements: query id to passage id to relevance."""
    found: dict[str, dict[str, int]] = {}
    for line in (DATA / "scifact" / "qrels_train.tsv").read_text().splitlines()[1:]:
        query, passage, relevance = line.split("\t")
        found.setdefault(query, {})[passage] = int(relevance)
    return found


def strategyqa() -> tuple[Iterator[pa.Table], Queries]:
    """StrategyQA's Wikipedia passages and evidence paragraphs; its train questions and their first rationales."""
    folder = DATA / "strategyqa"
    rows = [
        (row["pid"], f"{row['pid'].rsplit('-', 1)[0]}\n{' '.join(row['sentences'])}")
        for row in lines(folder / "evidence_paragraphs.jsonl.gz")
    ]
    rows += [(row["docid"], row["document"]) for row in lines(folder / "wikipedia_passages.jsonl.gz")]
    questions = [row["sent1"] for row in lines(folder / "train.json")]
    rationales = [row["rationales"][0] for row in lines(folder / "teacher_rationales_train.jsonl.gz")]
    return iter([table(rows)]), {"questions": questions, "rationales": rationales}


# The 33 English stop words of Lucene: the commonest types of the synthetic corpus, as in English text.
STOPS = """the of and to a in is was for that as it with on be by at are this or an not if but no such their then there
these they will into""".split()  # noqa: SIM905 - easier to read as words


def synthetic(passages: int) -> tuple[Iterator[pa.Table], Queries]:
    """Passages of words drawn from a Zipfian vocabulary of 500,000 types, about 60 words (log-normal) each.

    Short queries: 10 words of one passage. Long ones: 150 words, 30 of each of five passages.
    """
    types = 500_000
    rng = np.random.default_rng(SEED)
    words, seen = list(STOPS), set(STOPS)
    consonants, vowels, last = list("bcdfghjklmnpqrtvwz"), list("aeiou"), list("kmnrt")
    while len(words) < types:
        syllables = int(rng.integers(2, 5))
        firsts, seconds = rng.choice(consonants, (1000, syllables)), rng.choice(vowels, (1000, syllables))
        for first, second, end in zip(firsts, seconds, rng.choice(last, 1000), strict=True):
            word = "".join(a + b for a, b in zip(first, second, strict=True)) + end
            if word not in seen:
                seen.add(word)
                words.append(word)
    vocabulary = pa.array(words[:types])
    frequency = np.cumsum(1 / (np.arange(types) + 2.7) ** 1.05)

    def write() -> Iterator[pa.Table]:
        for start in range(0, passages, 50_000):
            count = min(50_000, passages - start)
            lengths = np.clip(rng.lognormal(np.log(55), 0.45, count), 8, 400).astype(np.int64)
            drawn = np.searchsorted(frequency, rng.random(lengths.sum()) * frequency[-1])
            ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            texts = pc.binary_join(pa.ListArray.from_arrays(ends, vocabulary.take(pa.array(drawn))), " ")
            kept.extend(texts.take(pa.array(rng.choice(count, 40))).to_pylist())
            yield pa.table(
                {
                    "passage_id": [f"p{n:08}" for n in range(start, start + count)],
                    "content": texts.cast(pa.string()),
                }
            )

    kept: list[str] = []
    queries: Queries = {"short": [], "long": []}

    def ask() -> Iterator[pa.Table]:
        yield from write()
        for _ in range(1000):
            queries["short"].append(" ".join(rng.choice(rng.choice(kept).split(), 10)))
            five = [rng.choice(text.split(), 30) for text in rng.choice(kept, 5)]
            queries["long"].append(" ".join(np.concatenate(five)))

    return ask(), queries


def table(rows: Sequence[tuple[str, str]]) -> pa.Table:
    """Rows of (passage id, content) as a table."""
    ids, contents = zip(*rows, strict=True)
    return pa.table({"passage_id": ids, "content": contents})
