from __future__ import annotations

import json
import math
import random
import shutil
import string
import threading
from collections import Counter
from pathlib import Path

import bm25s
import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lancedb.query import MatchQuery
from pydantic import ValidationError

from kard_ray.knowledge import bm25_build, bm25_kernels
from kard_ray.knowledge.analysis import AnalyzerConfig, analyzer, full_text_index
from kard_ray.knowledge.bm25 import Bm25Config, Bm25Index, build_bm25_index
from kard_ray.runtime.errors import UserError

PLAIN = AnalyzerConfig(stem=False, stop_words="none")
WORDS = ["".join(random.Random(i).choices(string.ascii_lowercase, k=1 + i % 7)) + "x" for i in range(300)]


def write(path: Path, rows: list[tuple[str, str]], *, fragment: int = 1_000_000) -> str:
    """A Lance table with rows of (passage_id, content), ``fragment`` rows per fragment; its address."""
    ids, texts = zip(*rows, strict=True) if rows else ((), ())
    table = pa.table({"passage_id": pa.array(ids, pa.string()), "content": pa.array(texts, pa.string())})
    lance.write_dataset(table, str(path / "t.lance"), max_rows_per_file=fragment)
    return str(path / "t.lance")


def index(
    path: Path,
    rows: list[tuple[str, str]],
    *,
    config: AnalyzerConfig = PLAIN,
    fragment: int = 1_000_000,
    **bm25,
) -> Bm25Index:
    shutil.rmtree(path / "t.lance", ignore_errors=True)
    uri = write(path, rows, fragment=fragment)
    build_bm25_index(uri, 1, str(path / "index"), analyzer=config, bm25=Bm25Config(**bm25), batch_rows=7)
    return Bm25Index.open(str(path / "index"), version=1)


class Plain:
    """BM25 in plain Python and float64."""

    def __init__(
        self, rows: list[tuple[str, str]], *, config: AnalyzerConfig = PLAIN, k1=1.2, b=0.75
    ) -> None:
        self.rows, self.k1, self.b, self.cut = rows, k1, b, analyzer(config)
        self.docs = [Counter(self.cut.tokens(text)) for _, text in rows]
        self.lengths = [doc.total() for doc in self.docs]
        self.counted = sum(length > 0 for length in self.lengths)
        self.having = Counter(term for doc in self.docs for term in doc)

    def scores(self, query: str) -> dict[int, float]:
        """What each document that has a word of ``query`` scores."""
        found: Counter[int] = Counter()
        average = sum(self.lengths) / max(self.counted, 1)
        for term in self.cut.tokens(query):
            idf = math.log(1 + (self.counted - self.having[term] + 0.5) / (self.having[term] + 0.5))
            for number, doc in enumerate(self.docs):
                if term in doc:
                    norm = self.k1 * (1 - self.b + self.b * self.lengths[number] / average)
                    found[number] += idf * doc[term] * (self.k1 + 1) / (doc[term] + norm)
        return found

    def check(self, made: Bm25Index, queries: list[str], k: int, *, allowed=None) -> None:
        """The index gives the same scores, best first, and equal scores in the order of the ids."""
        documents, scores = made.search(queries, k, allowed=allowed)
        assert documents.shape == scores.shape == (len(queries), k)
        assert (documents.dtype, scores.dtype) == (np.int32, np.float32)
        for query, numbers, got in zip(queries, documents.tolist(), scores.tolist(), strict=True):
            true = {n: score for n, score in self.scores(query).items() if allowed is None or allowed[n]}
            best = sorted(true.values(), reverse=True)[:k]
            assert got == pytest.approx(best + [0] * (k - len(best)), rel=1e-5)
            assert numbers[len(best) :] == [-1] * (k - len(best))
            assert [true[number] for number in numbers[: len(best)]] == pytest.approx(
                got[: len(best)], rel=1e-5
            )
            order = [(-score, self.rows[n][0]) for n, score in zip(numbers[: len(best)], got, strict=False)]
            assert order == sorted(order)


def texts(
    rng: random.Random, count: int, longest: int = 30, words: list[str] = WORDS
) -> list[tuple[str, str]]:
    """Rows of words of very unequal frequency, with shuffled ids; about a fifth are copies of another row's text."""
    ids = rng.sample(range(10 * count), count)
    rows = []
    for number in ids:
        length = rng.randrange(longest)
        text = " ".join(words[int(len(words) * rng.random() ** 3)] for _ in range(length))
        rows.append((f"p{number}", rng.choice(rows)[1] if rows and rng.random() < 0.2 else text))
    return rows


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and merge steps of a few documents, so that a small corpus goes through many."""
    monkeypatch.setattr("kard_ray.knowledge.bm25._BLOCK", 16)
    monkeypatch.setattr(bm25_build, "_MERGED_AT_ONCE", 50)
    monkeypatch.setattr(bm25_build, "_WORDS_OF_A_WORKER", 40)


@pytest.mark.parametrize("seed", range(6))
def test_scores_and_order_are_those_of_plain_python(tmp_path: Path, small_blocks: None, seed: int) -> None:
    rng = random.Random(seed)
    rows = texts(rng, [1, 5, 40, 120, 200, 300][seed])
    bm25 = [{}, {"k1": 0.9, "b": 0.4}, {"b": 0.0}, {"b": 1.0}, {"k1": 0.0}, {}][seed]
    made = index(tmp_path, rows, fragment=[1000, 2, 7, 50, 3, 300][seed], **bm25)
    queries = [" ".join(rng.choices(WORDS, k=size)) for size in (1, 2, 5, 10, 60, 200)]
    queries += [f"{WORDS[0]} {WORDS[0]} {WORDS[1]}", "", "unheardof", WORDS[0]]
    true = Plain(rows, **bm25)
    for k in (1, 3, 10, 400):
        true.check(made, queries, k)
    allowed = np.array([rng.random() < 0.5 for _ in rows])
    true.check(made, queries, 10, allowed=allowed)
    assert (made.search(queries, 5, allowed=np.zeros(len(rows), np.bool_))[0] == -1).all()


@given(
    texts=st.lists(st.text(alphabet="abé. ßİ日1²’x\x00", max_size=20), max_size=12),
    queries=st.lists(st.text(alphabet="abé. ßİ日1²’x\x00", max_size=20), max_size=4),
    k=st.integers(1, 15),
)
@settings(max_examples=25, deadline=None)
def test_any_text_and_any_query(tmp_path_factory: pytest.TempPathFactory, texts, queries, k) -> None:
    rows = [(f"{number * 7919 % 101:03}", text) for number, text in enumerate(texts)]
    Plain(rows).check(index(tmp_path_factory.mktemp("any"), rows), queries, k)


def test_equal_scores_are_ordered_by_passage_id_wherever_they_stand(
    tmp_path: Path, small_blocks: None
) -> None:
    ids = [f"t{n:03}" for n in range(150)]
    rows = [(i, "the very same words") for i in random.Random(0).sample(ids, len(ids))]
    made = index(tmp_path, rows, config=AnalyzerConfig(), fragment=40)
    for k in (1, 10, 149, 150, 160):
        (found,), _ = made.search(["same words"], k)
        assert [rows[number][0] for number in found if number >= 0] == ids[:k]


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, str]]:
    rng = random.Random(7)
    real = ["of", "running", "water", "café", "children", "having", "cities", "naïve", "Caesar's", "because"]
    return texts(rng, 400, 40, WORDS[:200] + real * 3)


@pytest.fixture(scope="module")
def searches(corpus: list[tuple[str, str]]) -> list[str]:
    rng = random.Random(8)
    words = " ".join(text for _, text in corpus).split()
    return [" ".join(rng.choices(words, k=size)) for size in [1, 2, 4, 8, 16, 32, 150] * 4]


def test_lancedb_finds_the_same_with_the_same_scores(tmp_path: Path, corpus, searches) -> None:
    for config in (AnalyzerConfig(), PLAIN):
        made = index(tmp_path, corpus, config=config, fragment=130)
        table = lancedb.connect(str(tmp_path)).open_table("t")
        table.create_index("content", config=full_text_index(config), replace=True)
        documents, scores = made.search(searches, 10)
        for query, numbers, got in zip(searches, documents.tolist(), scores.tolist(), strict=True):
            hits = (
                table.search(MatchQuery(query, "content"), query_type="fts")  # type: ignore[call-arg]
                .limit(10)
                .to_list()
            )
            assert [hit["_score"] for hit in hits] == pytest.approx(got[: len(hits)], rel=1e-4)
            ours = {
                corpus[number][0]
                for number, score in zip(numbers, got, strict=True)
                if score > got[-1] * 1.0001
            }
            assert ours <= {hit["passage_id"] for hit in hits}


def test_bm25s_finds_the_same_with_the_same_scores(tmp_path: Path, corpus, searches) -> None:
    corpus = [row for row in corpus if row[1]]  # bm25s counts documents without a word
    made = index(tmp_path, corpus, config=AnalyzerConfig(), k1=1.5, b=0.6)
    cut = analyzer(AnalyzerConfig())
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.6)
    peer.index([cut.tokens(text) for _, text in corpus], show_progress=False)
    _, scores = made.search(searches, 10)
    _, others = peer.retrieve([cut.tokens(query) for query in searches], k=10, show_progress=False)
    # bm25s leaves out the constant factor k1 + 1
    assert scores == pytest.approx(others * 2.5, rel=1e-4)


def test_document_numbers_are_row_offsets_with_fragments_and_deletions(tmp_path: Path) -> None:
    rows = texts(random.Random(3), 90)
    uri = write(tmp_path, rows, fragment=13)
    lance.dataset(uri).delete(f"passage_id in ({', '.join(repr(i) for i, _ in rows[5:40:3] + rows[60:75])})")
    dataset = lance.dataset(uri)
    assert dataset.version == 2
    build_bm25_index(uri, 2, str(tmp_path / "index"), analyzer=PLAIN, bm25=Bm25Config(), batch_rows=10)
    made = Bm25Index.open(str(tmp_path / "index"))
    left = [row for n, row in enumerate(rows) if not (n in range(5, 40, 3) or 60 <= n < 75)]
    assert made.rows == len(left) == dataset.count_rows()
    assert dataset.take(list(range(len(left))), columns=["passage_id"])["passage_id"].to_pylist() == [
        i for i, _ in left
    ]
    Plain(left).check(made, [WORDS[0], " ".join(WORDS[:40])], 5)
    # An older version can still be indexed.
    build_bm25_index(uri, 1, str(tmp_path / "old"), analyzer=PLAIN, bm25=Bm25Config())
    Plain(rows).check(Bm25Index.open(str(tmp_path / "old"), version=1), [" ".join(WORDS[:40])], 5)


@pytest.mark.parametrize(
    "query",
    ['Atacama "', "Atacama AND NOT desert", "content:Atacama^2", "Ata* Atacama*", "+Atacama -Atacama ~2 /.*/",
     "Atacama'; DROP TABLE passages; --", "Atacama\x00\u2028\ud800", "Atacama " + "unheard " * 20_000],
)  # fmt: skip
def test_a_hostile_query_is_searched_as_text(tmp_path: Path, query: str) -> None:
    made = index(tmp_path, [("b", "Llamas graze near Cusco."), ("a", "The Atacama desert is dry.")])
    assert made.search([query], 3)[0].tolist()[0][0] == 1


@pytest.mark.parametrize("query", ["", "   ", "\n", "?!.,;:()[]{}*\"'", "—…", "the of and", "unheardofword"])
def test_a_query_without_a_known_word_finds_nothing(tmp_path: Path, query: str) -> None:
    made = index(tmp_path, [("a", "The Atacama desert is dry.")], config=AnalyzerConfig())
    documents, scores = made.search([query, "atacama"], 2)
    assert documents.tolist() == [[-1, -1], [0, -1]]
    assert scores[0].tolist() == [0, 0]


def test_nothing_to_search_in_and_nothing_to_search_for(tmp_path: Path) -> None:
    empty = index(tmp_path, [])
    assert empty.search(["a", ""], 2)[0].tolist() == [[-1, -1], [-1, -1]]
    made = index(tmp_path, [("a", "a b"), ("b", "?!")])
    assert made.search([], 2)[0].shape == (0, 2)
    assert made.search(["a"], 0)[0].shape == (1, 0)
    assert made.search(["a b"], 1)[0].tolist() == [[0]]


def test_threads_and_other_users_change_nothing(tmp_path: Path, corpus, searches) -> None:
    made = index(tmp_path, corpus)
    one = made.search(searches, 10, threads=1)
    singly = [made.search([query], 10) for query in searches]
    assert all((s[0][0] == d).all() and (s[1][0] == e).all() for s, d, e in zip(singly, *one, strict=True))
    found: list[bool] = []

    def search() -> None:
        for _ in range(5):
            again = made.search(searches, 10, threads=3)
            found.append((again[0] == one[0]).all() and (again[1] == one[1]).all())

    users = [threading.Thread(target=search) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert found == [True] * 20


def test_workers_build_the_same_files(tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write(tmp_path, corpus)
    monkeypatch.setattr(bm25_build, "_START_A_WORKER", 10)
    for workers in (1, 2):
        folder = str(tmp_path / str(workers))
        build_bm25_index(
            uri, 1, folder, analyzer=AnalyzerConfig(), bm25=Bm25Config(), workers=workers, batch_rows=100
        )
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("1", "2"))
    assert one == two


def test_an_index_is_replaced_as_a_whole_and_old_readers_keep_theirs(tmp_path: Path) -> None:
    old = index(tmp_path, [("a", "alpha"), ("b", "beta")])
    new = index(tmp_path, [("c", "gamma")])
    assert old.search(["beta"], 1)[0].tolist() == [[1]]
    assert new.search(["beta"], 1)[0].tolist() == [[-1]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index", "t.lance"]


def test_a_build_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(tmp_path, [("a", "alpha")])

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(bm25_build, "_merge", fail)
    with pytest.raises(OSError, match="disk full"):
        index(tmp_path, [("b", "beta")])
    assert Bm25Index.open(str(tmp_path / "index")).search(["alpha"], 1)[0].tolist() == [[0]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index", "t.lance"]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (shutil.rmtree, "holds no BM25 index"),
        (lambda folder: (folder / "manifest.json").unlink(), "holds no BM25 index"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is damaged"),
        (lambda folder: (folder / "docs.npy").unlink(), "docs.npy has None bytes, expected"),
        (lambda folder: (folder / "docs.npy").write_bytes(b"123"), "docs.npy has 3 bytes, expected"),
        (lambda folder: change(folder, format=0), "has format 0"),
        (lambda folder: change(folder, version=4), "was built from version 4 .* expected version 1"),
    ],
)
def test_an_index_that_cannot_be_used_says_so(tmp_path: Path, harm, told: str) -> None:
    index(tmp_path, [("a", "alpha")])
    harm(tmp_path / "index")
    with pytest.raises(UserError, match=told):
        Bm25Index.open(str(tmp_path / "index"), version=1)


def change(folder: Path, **fields: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | fields))


def test_what_cannot_be_indexed_says_so(tmp_path: Path) -> None:
    uri = write(tmp_path, [("a", "alpha")])
    arguments = {"analyzer": PLAIN, "bm25": Bm25Config()}
    with pytest.raises(UserError, match="version 9 of the knowledge base"):
        build_bm25_index(uri, 9, str(tmp_path / "index"), **arguments)
    with pytest.raises(UserError, match="cannot be opened"):
        build_bm25_index(str(tmp_path / "none.lance"), 1, str(tmp_path / "index"), **arguments)
    assert not (tmp_path / "index").exists()


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    for wrong in ({"k1": -0.1}, {"b": 1.1}, {"b": -0.1}, {"k2": 1}):
        with pytest.raises(ValidationError):
            Bm25Config(**wrong)
    made = index(tmp_path, [("a", "alpha")])
    for mask in (np.ones(2, np.bool_), np.ones(1, np.int8)):
        with pytest.raises(ValueError, match="allowed must be 1 truth values"):
            made.search(["alpha"], 1, allowed=mask)


def test_machine_code_is_kept_on_disk_and_made_once_for_all_indexes(tmp_path: Path) -> None:
    made = index(tmp_path, [("a", "alpha"), ("b", "beta")])
    every, frozen = np.ones(2, np.bool_), np.ones(4, np.bool_)[::2]
    frozen.flags.writeable = False
    for allowed in (None, every, frozen):
        for queries in (["alpha"], ["alpha", "beta", "gamma"]):
            made.search(queries, 2, allowed=allowed)
    index(tmp_path, []).search(["alpha"], 1)
    for kernel in (bm25_kernels.search_queries, bm25_kernels.count_postings, bm25_kernels.score_postings):
        assert kernel.stats.cache_path
        assert len(kernel.signatures) == 1


@given(
    documents=st.lists(
        st.lists(st.sampled_from(WORDS[:40]), min_size=1, max_size=12), min_size=1, max_size=60
    ),
    queries=st.lists(st.lists(st.sampled_from(WORDS[:45]), max_size=12), min_size=1, max_size=4),
    data=st.data(),
)
@settings(max_examples=30)
def test_a_given_documents_score_is_that_of_the_search(
    tmp_path_factory, documents: list[list[str]], queries: list[list[str]], data
) -> None:
    path = tmp_path_factory.mktemp("score")
    built = index(path, [(f"p{n:03}", " ".join(words)) for n, words in enumerate(documents)])
    texts = [" ".join(words) for words in queries]
    wanted = [data.draw(st.lists(st.integers(0, len(documents) - 1), max_size=10)) for _ in texts]
    found, scores = built.search(texts, len(documents), threads=1)
    given_scores = built.score(texts, wanted)
    assert [len(of) for of in given_scores] == [len(of) for of in wanted]
    for query, of in enumerate(wanted):
        searched = {int(d): s for d, s in zip(found[query], scores[query], strict=True) if d >= 0}
        assert [float(s) for s in given_scores[query]] == [float(searched.get(d, 0)) for d in of]


def test_a_document_that_is_not_there_has_no_score(tmp_path: Path) -> None:
    built = index(tmp_path, [("a", "word")])
    for document in (-1, 1):
        with pytest.raises(ValueError, match="from 0 to 0"):
            built.score(["word"], [[document]])
    assert built.score([], []) == []
