from __future__ import annotations

import random
import string
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kard_ray.knowledge.passage import RETRIEVED
from kard_ray.knowledge.retrieval import (
    PASSAGE_LIST,
    KnowledgeBase,
    RetrievalConfig,
    Retriever,
    passage_texts,
)
from kard_ray.runtime.errors import UserError
from tests.knowledge.rows import write_base

HOSTILE_IDS = [
    "it's",
    "a' OR '1'='1",
    "x'); DROP TABLE passages; --",
    'double "quoted"',
    "back\\slash",
    "日本",
    "% _",
]
RARE = [
    ("chile", "Chile", "The Atacama desert is dry."),
    ("norway", "Norway", "The fjords are deep."),
    ("peru", "Peru", "Llamas graze near Cusco."),
    ("ivory", "Côte d'Ivoire", "Yamoussoukro is the capital."),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("knowledge")
    common = [(f"c{n:03}", f"Country {n}", f"The country has land and sea, number {n}.") for n in range(300)]
    hostile = [(i, "Hostile", f"Its id is number {n}.") for n, i in enumerate(HOSTILE_IDS)]
    write_base(path, [common, RARE, hostile])
    return str(path)


@pytest.fixture(scope="module", params=["memory_mapped", "lancedb"])
def base(folder: str, request: pytest.FixtureRequest) -> KnowledgeBase:
    return KnowledgeBase(folder, RetrievalConfig(bm25_engine=request.param))


def ids(base: KnowledgeBase, query: str, k: int) -> list[str]:
    """Passages that BM25 finds, best first."""
    return base.retrieve([query], k)["passage_id"].to_pylist()


@pytest.mark.parametrize(
    ("query", "passage_id"),
    [
        ("Atacama", "chile"),
        ("Which country has deep fjords?", "norway"),
        ("llama", "peru"),  # stemmed
        ("CUSCO", "peru"),
        ("Where is Yamoussoukro, in Côte d'Ivoire?", "ivory"),
        ("So the answer is Peru.", "peru"),  # the title is searched too
    ],
)
def test_bm25_finds_the_passage_with_the_rare_word(base: KnowledgeBase, query: str, passage_id: str) -> None:
    assert ids(base, query, 3)[0] == passage_id


@pytest.mark.parametrize(
    "query",
    [
        'Atacama "',
        '"Atacama desert',
        "Atacama (dry",
        "((Atacama))) [",
        "Atacama AND NOT",
        "Atacama AND OR NOT Atacama",
        "text:Atacama",
        "content:Atacama^2",
        "Ata* Atacama*",
        "Atacama~2 ?",
        "+Atacama -Atacama",
        "Atacama /.*/",
        "Atacama\\",
        "Atacama'; DROP TABLE passages; --",
        '{"match": {"content": "Atacama"}} Atacama',
        "Atacama\x00",
        "Atacama\n\t\u2028",
        "Atacama 日本 😀 \u0301",
        "Atacama " + "unheard " * 2000,
    ],
)
def test_a_hostile_query_is_searched_as_text(base: KnowledgeBase, query: str) -> None:
    assert "chile" in ids(base, query, 3)


@pytest.mark.parametrize("query", ["", "   ", "\n", "?!.,;:()[]{}*\"'", "—…", "the of and", "unheardofword"])
def test_a_query_without_a_known_word_finds_nothing(base: KnowledgeBase, query: str) -> None:
    assert ids(base, query, 3) == []


@given(query=st.text(max_size=80))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_query_fails(base: KnowledgeBase, query: str) -> None:
    scores = base.retrieve([query], 2)["score"].to_pylist()
    assert len(scores) <= 2
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)


def test_two_thousand_different_words_are_one_query(base: KnowledgeBase) -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=7)) for _ in range(2000)]
    assert ids(base, " ".join([*words, "Atacama"]), 1) == ["chile"]


@pytest.mark.parametrize("engine", ["memory_mapped", "lancedb"])
@pytest.mark.parametrize("k", [1, 3, 12, 40])
def test_ties_are_broken_by_id_however_many_there_are(tmp_path: Path, k: int, engine: str) -> None:
    names = [f"t{n:02}" for n in range(40)]
    stored = random.Random(k).sample(names, len(names))
    rows = [(i, "Same", "The very same words.") for i in stored] + [("other", "Other", "Something else.")]
    write_base(tmp_path, [rows[:15], rows[15:]])
    assert (
        ids(KnowledgeBase(str(tmp_path), RetrievalConfig(bm25_engine=engine)), "same words", k) == names[:k]
    )


def test_k_bounds_what_is_found(base: KnowledgeBase) -> None:
    assert ids(base, "Atacama", 0) == []
    assert len(ids(base, "country", 5)) == 5
    assert len(ids(base, "Atacama", 5)) == 1


def test_results_stand_in_the_order_of_the_queries_and_ranks_count_from_zero(base: KnowledgeBase) -> None:
    found = base.retrieve({"b": "Cusco country", "none": "???", "a": "Atacama"}, 2)
    assert found.schema == RETRIEVED
    assert found["query_id"].to_pylist() == ["b", "b", "a"]
    assert found["rank"].to_pylist() == [0, 1, 0]
    assert found["passage_id"].to_pylist()[0::2] == ["peru", "chile"]


def test_the_order_of_passages_does_not_depend_on_threads(folder: str) -> None:
    queries = [f"country number {n}" for n in range(20)]
    one = KnowledgeBase(folder, threads=1).retrieve(queries, 4)
    assert KnowledgeBase(folder, threads=4).retrieve(queries, 4) == one


def test_the_retriever_adds_one_list_to_each_row(folder: str) -> None:
    batch = pa.table({"query": ["Atacama", "", "Cusco"], "row": [1, 2, 3]})
    found = Retriever(folder, 2, "query")(batch)
    assert found.schema.field("passages").type == PASSAGE_LIST
    assert found["row"].to_pylist() == [1, 2, 3]
    assert [[p["passage_id"] for p in row] for row in found["passages"].to_pylist()] == [
        ["chile"],
        [],
        ["peru"],
    ]
    assert found["passages"][0].as_py()[0]["text"] == "The Atacama desert is dry."


def test_a_batch_without_rows_stays_one(folder: str) -> None:
    batch = pa.table({"query": pa.array([], pa.string())})
    assert Retriever(folder, 2, "query")(batch).num_rows == 0


def test_texts_are_found_by_id_whatever_the_id_holds(folder: str) -> None:
    found = passage_texts(folder, [*HOSTILE_IDS, "chile", "chile"])
    assert set(found) == {*HOSTILE_IDS, "chile"}
    assert found["chile"] == {"title": "Chile", "text": "The Atacama desert is dry."}
    assert found["it's"]["text"] == "Its id is number 0."


def test_unknown_ids_are_left_out_and_sql_in_an_id_is_only_an_id(folder: str) -> None:
    assert passage_texts(folder, ["' OR '1'='1", "nobody", "') OR (1=1", ""]) == {}
    assert passage_texts(folder, []) == {}
    assert ids(KnowledgeBase(folder), "Atacama", 1)  # the table is still there


def test_more_ids_than_one_request_holds_are_all_found(folder: str) -> None:
    wanted = [f"c{n:03}" for n in range(300)] + [f"missing{n}" for n in range(1300)] + ["peru"]
    assert set(passage_texts(folder, wanted)) == {*(f"c{n:03}" for n in range(300)), "peru"}


def test_both_engines_find_the_same_passages_with_nearly_the_same_scores(folder: str) -> None:
    queries = [f"Which country has number {n}, deep fjords or a desert near Cusco?" for n in range(40)]
    ours = KnowledgeBase(folder).retrieve(queries, 5)
    lances = KnowledgeBase(folder, RetrievalConfig(bm25_engine="lancedb")).retrieve(queries, 5)
    assert ours["passage_id"] == lances["passage_id"]
    assert ours["score"].to_pylist() == pytest.approx(lances["score"].to_pylist(), rel=0.02)


def test_an_unknown_mode_and_vectors_that_are_not_there_are_users_errors(folder: str) -> None:
    with pytest.raises(UserError, match="retrieval mode 'dense'"):
        KnowledgeBase(folder).retrieve(["x"], 1, "dense")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="it has no vectors"):
        KnowledgeBase(folder).retrieve(["x"], 1, "vector")
    with pytest.raises(UserError, match="it has no vectors"):
        KnowledgeBase(folder).retrieve(["x"], 1, "hybrid")


def test_a_folder_that_is_no_knowledge_base_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="build it with kard-ray knowledge"):
        KnowledgeBase(str(tmp_path))


def test_given_passages_have_the_scores_of_a_search(folder: str) -> None:
    base = KnowledgeBase(folder, RetrievalConfig())
    queries = ["deep fjords of Norway", "land and sea"]
    documents, scores = base.search(queries, 5, "bm25")
    found = [documents[0][documents[0] >= 0], documents[1]]
    for mine, theirs in zip(base.score(queries, found, "bm25"), scores, strict=True):
        assert mine.tolist() == theirs[: len(mine)].tolist()


def test_modes_without_a_score_for_a_given_passage_say_so(folder: str) -> None:
    with pytest.raises(UserError, match="joins ranks"):
        KnowledgeBase(folder).score(["a"], [np.array([0])], "hybrid")
    with pytest.raises(UserError, match="bm25_engine: lancedb scores no given passages"):
        KnowledgeBase(folder, RetrievalConfig(bm25_engine="lancedb")).score(["a"], [np.array([0])], "bm25")
