"""Candidate sets: who is asked, what is found, and that every candidate has the rationale's score."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from kard_ray.knowledge.retrieval import KnowledgeBase, RetrievalConfig
from kard_ray.reranker.candidates import (
    CANDIDATES,
    PASSAGE_TEXTS,
    CandidateFinder,
    asked,
    check_retriever,
    check_sets,
    find_candidates,
    passage_rows,
)
from kard_ray.reranker.config import RerankerConfig
from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.teacher.rationales import RATIONALES
from kard_ray.teacher.silver import SilverConfig
from tests.knowledge.rows import write_base

WORDS = [f"w{n:02}" for n in range(40)]
CONFIG = RerankerConfig(by_rationale=4, by_question=3, candidates_per_step=4, dev_fraction=0.3, dev_depth=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("knowledge")
    rng = random.Random(0)
    passages = [(f"p{n:03}", f"Title {n}", " ".join(rng.choices(WORDS, k=8))) for n in range(120)]
    write_base(path, [passages[:50], passages[50:]])
    return str(path)


def rationales(rows: list[tuple[str, str, bool]]) -> pa.Table:
    """(question, split, kept) -> a rationale of two words that its question does not have."""
    columns = [
        {
            "rationale_id": f"{name}#{at}",
            "question_id": name,
            "split": split,
            "sample": at,
            "rationale": f"{WORDS[at % 40]} {WORDS[(at + 7) % 40]}",
            "kept": kept,
            "dropped_by": "",
            "dropped_because": "",
            "prompt_tokens": 1,
            "generated_tokens": 1,
        }
        for at, (name, split, kept) in enumerate(rows)
    ]
    return pa.Table.from_pylist(columns, schema=RATIONALES)


ROWS = [(f"q{at // 2}", "train", True) for at in range(60)]
QUERIES = {f"q{at}": f"{WORDS[at]} {WORDS[at + 3]}" for at in range(30)}
TEXTS = {name: f"Is {query}?" for name, query in QUERIES.items()}


def rows_asked(config: RerankerConfig = CONFIG, silver: SilverConfig | None = None) -> pa.Table:
    return asked(rationales(ROWS), QUERIES, TEXTS, config, silver or SilverConfig(), test_split="test")


def test_all_rationales_of_a_question_are_on_one_side_and_test_questions_on_none() -> None:
    extra = [("t", "test", True), ("q1", "train", False), ("d", "dev", True), ("unknown", "train", True)]
    found = asked(
        rationales([*ROWS, *extra]), QUERIES | {"t": "w01", "d": "w02"}, TEXTS, CONFIG, SilverConfig(),
        test_split="test",
    ).to_pylist()  # fmt: skip
    assert {row["question_id"] for row in found} == {*QUERIES, "d"}
    assert len(found) == len(ROWS) + 1
    sides = {(row["question_id"], row["split"]) for row in found}
    assert len(sides) == len(QUERIES) + 1
    assert ("d", "dev") in sides
    assert {split for _, split in sides} == {"train", "dev"}
    assert rows_asked().equals(rows_asked())


def test_the_query_is_that_of_silver_passages() -> None:
    row = rows_asked(silver=SilverConfig(query="question_and_rationale")).to_pylist()[0]
    plain = rows_asked().to_pylist()[0]
    assert row["rationale"] == f"{TEXTS[row['question_id']]} {plain['rationale']}"
    assert row["question"] == QUERIES[row["question_id"]]


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_a_share_that_leaves_one_side_empty_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"field reranker.dev_fraction: got .* of 60 kept rationales"):
        rows_asked(CONFIG.model_copy(update={"dev_fraction": share}))


def find(folder: str, rows: pa.Table, config: RerankerConfig = CONFIG) -> list[dict]:
    return CandidateFinder(folder, config, "bm25", RetrievalConfig(), None)(rows).to_pylist()


def test_a_set_is_what_both_searches_find_each_scored_with_the_rationale(folder: str) -> None:
    rows = rows_asked()
    base = KnowledgeBase(folder)
    for row, source in zip(find(folder, rows), rows.to_pylist(), strict=True):
        by_rationale, by_question = (4, 3) if row["split"] == "train" else (10, 5)
        mine = base.retrieve([source["rationale"]], 120)
        its = base.retrieve([source["question"]], by_question)["passage_id"].to_pylist()
        best = mine["passage_id"].to_pylist()[:by_rationale]
        scores = dict(zip(mine["passage_id"].to_pylist(), mine["score"].to_pylist(), strict=True))
        assert {c["passage_id"] for c in row["candidates"]} == {*best, *its}
        for candidate in row["candidates"]:
            assert candidate["by_rationale"] == (candidate["passage_id"] in best)
            assert candidate["by_question"] == (candidate["passage_id"] in its)
            name = candidate["passage_id"]
            assert candidate["place"] == (its.index(name) if name in its else -1)
            assert candidate["score"] == scores.get(candidate["passage_id"], 0)
        # The best come first, so the first of a set are the silver passages.
        assert [c["passage_id"] for c in row["candidates"]][: len(best)] == best


def test_held_out_questions_are_measured_on_the_same_whatever_training_takes(folder: str) -> None:
    other = CONFIG.model_copy(update={"by_rationale": 1, "by_question": 1, "candidates_per_step": 2})
    rows = rows_asked()
    pairs = list(zip(find(folder, rows), find(folder, rows, other), strict=True))
    assert all((mine == its) == (mine["split"] == "dev") for mine, its in pairs)


def test_what_finds_nothing_has_an_empty_set(folder: str) -> None:
    rows = pa.table(
        {
            "rationale_id": ["a", "b"],
            "question_id": ["a", "b"],
            "split": ["train", "train"],
            "question": ["nothing known", "w01"],
            "rationale": ["no such word", "w02"],
        }
    )
    empty, found = find(folder, rows)
    assert empty["candidates"] == []
    assert found["candidates"]
    with pytest.raises(UserError, match="no passage was found for any train rationale"):
        check_sets(CandidateFinder(folder, CONFIG, "bm25", RetrievalConfig(), None)(rows.slice(0, 1)))
    without = CONFIG.model_copy(update={"by_question": 0})
    assert not any(c["by_question"] for c in find(folder, rows, without)[1]["candidates"])


def test_texts_of_passages_come_in_the_order_of_their_ids(folder: str) -> None:
    found = passage_rows(folder, pa.array(["p099", "p001", "missing", "p050"]), version=None)
    assert found.schema.equals(PASSAGE_TEXTS)
    assert found["passage_id"].to_pylist() == ["p001", "p050", "p099"]
    assert found["title"].to_pylist() == ["Title 1", "Title 50", "Title 99"]
    assert passage_rows(folder, pa.array([], pa.string()), version=None).num_rows == 0


def test_a_retriever_without_scores_for_given_passages_is_refused() -> None:
    with pytest.raises(UserError, match=r"field silver.mode: got hybrid"):
        check_retriever(SilverConfig(mode="hybrid"), RetrievalConfig())
    with pytest.raises(UserError, match=r"field retrieval.bm25_engine: got lancedb"):
        check_retriever(SilverConfig(), RetrievalConfig(bm25_engine="lancedb"))
    check_retriever(SilverConfig(mode="vector"), RetrievalConfig(bm25_engine="lancedb"))


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.timeout(300)
def test_candidates_are_found_on_ray(folder: str, tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    artifact = run.artifact(ArtifactSpec(stage="candidates", version=1, config={}))
    rows = rows_asked()
    manifest = find_candidates(
        rows, folder, CONFIG, SilverConfig(), artifact, retrieval=RetrievalConfig(), version=None
    )
    found = artifact.read_table("candidates.parquet")
    assert found.schema.equals(CANDIDATES)
    assert found.sort_by("rationale_id").to_pylist() == sorted(
        find(folder, rows), key=lambda row: row["rationale_id"]
    )
    named = {c["passage_id"] for row in found.to_pylist() for c in row["candidates"]}
    assert artifact.read_table("passages.parquet")["passage_id"].to_pylist() == sorted(named)
    sides = manifest.counts["train"]["rationales"], manifest.counts["dev"]["rationales"]
    assert sum(sides) == len(ROWS)
    assert manifest.counts["train"]["without_candidate"] == 0
