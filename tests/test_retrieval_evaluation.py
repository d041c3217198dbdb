from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from kard_ray.evaluation.retrieval_metrics import print_by_kind
from kard_ray.knowledge.retrieval import KnowledgeBase
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.reranker.config import RERANKER_FOLDER
from kard_ray.retrieval_evaluation import QuerySet, evaluate_retrieval, finder, measure
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError
from tests.knowledge.rows import document, passage_rows, write_base
from tests.reranker.bases import write_here, write_reranker
from tests.tiny_models import tiny_bert


def test_passages_of_one_document_count_once_at_the_best_place(tmp_path: Path) -> None:
    rows = passage_rows([document(f"p{n}", "", f"The river {'Odra ' * (4 - n)}flows.") for n in range(4)])
    sources = ["long", "long", "short", "other"]
    rows = rows.set_column(1, rows.schema.field("source_id"), [sources])
    write_base(tmp_path, [rows])
    base = KnowledgeBase(str(tmp_path))
    by_document = QuerySet(
        name="given", queries={"q": "Odra"}, relevant={"q": {"short": 1}}, by_document=True
    )
    bm25 = finder(base, "bm25", cast("Pipeline", None), None)
    (scores,) = measure(bm25, base, by_document, "bm25", 10)
    assert (scores["mode"], scores["queries"], scores["n"]) == ("bm25", "given", 1)
    assert scores["mrr@10"] == pytest.approx(1 / 2)
    by_passage = QuerySet(
        name="question", queries={"q": "Odra"}, relevant={"q": {"p2": 1}}, by_document=False
    )
    assert measure(bm25, base, by_passage, "bm25", 10)[0]["mrr@10"] == pytest.approx(1 / 3)
    assert scores["queries_per_second"] > 0


def test_each_kind_of_question_has_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_base(tmp_path, [[("p1", "", "The river Odra."), ("p2", "", "The river Oka.")]])
    base = KnowledgeBase(str(tmp_path))
    asked = QuerySet(
        name="question",
        queries={"a": "Odra", "b": "Oka", "c": "Odra"},
        relevant={"a": {"p1": 1}, "b": {"p2": 1}, "c": {"p2": 1}},
        by_document=False,
        kinds={"a": "plain", "b": "plain", "c": "bridge"},
    )
    rows = measure(base.retrieve, base, asked, "bm25", 3)
    assert [(row["kind"], row["hits@1"], row["n"]) for row in rows] == [
        ("", pytest.approx(2 / 3), 3), ("bridge", 0, 1), ("plain", 1, 2),
    ]  # fmt: skip
    assert rows[1]["hits@1_low"] <= 0 <= rows[1]["hits@1_high"]
    print_by_kind(rows)
    printed = capsys.readouterr().out
    assert printed.count("bm25") == 2
    assert "100.0 % [" in printed


def test_a_way_of_searching_that_there_is_not_is_refused(recipe_path: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="--modes bm26: expected some of bm25, vector, hybrid, reranker, multivector"
    ):
        evaluate_retrieval(
            recipe_path, run_dir=str(tmp_path / "run"), overrides=(), queries=None, judgements=None,
            modes=["bm26"], k=10, version=None, split="dev", out=None,
        )  # fmt: skip


def test_queries_without_judgements_are_refused(recipe_path: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--queries and --judgements go together"):
        evaluate_retrieval(
            recipe_path, run_dir=str(tmp_path / "run"), overrides=(), queries=tmp_path / "q.jsonl", judgements=None,
            modes=["bm25"], k=10, version=None, split="dev", out=None,
        )  # fmt: skip


def test_a_trained_reranker_is_measured_beside_bm25(
    recipe_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "Which river?"}) + "\n")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp1\t1\n")
    bert = tiny_bert(tmp_path / "bert")
    overrides = [
        "knowledge.embedder=null",
        f"reranker={{model: {bert}, max_query_tokens: 24, max_passage_tokens: 48}}",
    ]
    pipeline = Pipeline(load_recipe(recipe_path, overrides), RunDirectory(str(tmp_path / "run")))
    knowledge = pipeline.knowledge_artifact
    version = write_base(
        knowledge.path,
        [[("p1", "", "The river Odra."), ("p2", "", "A river and a town."), ("p3", "", "A town.")]],
    )
    knowledge.seal(rows={}, counts={"knowledge_base_version": version.number})

    def measured(*modes: str) -> list[dict[str, Any]]:
        evaluate_retrieval(
            recipe_path, run_dir=str(tmp_path / "run"), overrides=overrides, queries=tmp_path / "queries.jsonl",
            judgements=tmp_path / "qrels.tsv", modes=modes, k=10, version=None, split="dev", out=tmp_path / "out.json",
        )  # fmt: skip
        found: list[dict[str, Any]] = json.loads((tmp_path / "out.json").read_text())
        return found

    with pytest.raises(UserError, match=r"artifact .*reranker/.* is not finished"):
        measured("bm25", "reranker")
    assert not (tmp_path / "out.json").exists()
    config = pipeline.reranker_config
    write_reranker(Path(pipeline.reranker_artifact.at(RERANKER_FOLDER)), config)
    pipeline.reranker_artifact.seal(rows={})
    made = write_here(
        tmp_path / "made", knowledge.path, pipeline.reranker_artifact.at(RERANKER_FOLDER), config
    )
    shutil.copytree(made, pipeline.token_vectors_artifact.path)
    (Path(pipeline.token_vectors_artifact.path) / "manifest.json").unlink()
    pipeline.token_vectors_artifact.seal(rows={})
    rows = measured("bm25", "reranker", "multivector")
    assert [(row["mode"], row["n"]) for row in rows] == [("bm25", 1), ("reranker", 1), ("multivector", 1)]
    # Both passages that the words find stay among three, whatever order random weights give them.
    assert [row["hits@3"] for row in rows] == [1, 1, 1]
    assert "multivector" in capsys.readouterr().out


@pytest.mark.ray
def test_it_builds_the_knowledge_base_and_prints_a_line_for_each_mode(
    recipe_path: str, tmp_path: Path, local_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "Which fact?"}) + "\n")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp1\t1\n")
    evaluate_retrieval(
        recipe_path, run_dir=str(tmp_path / "run"), overrides=["knowledge.embedder=null"],
        queries=tmp_path / "queries.jsonl", judgements=tmp_path / "qrels.tsv", modes=["bm25"], k=10, version=None,
        split="dev", out=tmp_path / "out.json",
    )  # fmt: skip
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert (row["mode"], row["ndcg@10"], row["n"]) == ("bm25", 1.0, 1)
    assert "bm25" in capsys.readouterr().out
