"""Measure retrieval modes side by side, with one's own judgements or a benchmark's gold passages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lance
import pyarrow as pa

from kard_ray.evaluation.relevance import judged, read_judgements, read_queries
from kard_ray.evaluation.retrieval_metrics import print_retrieval_table, retrieval_scores
from kard_ray.execution import run_stages
from kard_ray.knowledge.fragments import is_in, table_uri
from kard_ray.knowledge.retrieval import KnowledgeBase, Mode
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError

_DEPTH = 4  # times as many passages are asked for as documents: several may be cut from one document


@dataclass(frozen=True, kw_only=True, slots=True)
class QuerySet:
    """Queries of one kind, and what is relevant for each: grades by document id, or by passage id."""

    name: str
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]
    by_document: bool


def evaluate_retrieval(
    recipe_path: str, *, run_dir: str | None, overrides: Iterable[str], queries: Path | None, judgements: Path | None,
    modes: Sequence[str], k: int, version: str | None, split: str, out: Path | None,
) -> None:  # fmt: skip
    """Print one line per mode and kind of query; builds the recipe's knowledge base first when it is not there."""
    recipe = load_recipe(recipe_path, list(overrides))
    run = RunDirectory(run_dir or f"runs/{recipe.name}")
    pipeline = Pipeline(recipe, run)
    if (queries is None) != (judgements is None):
        raise UserError("--queries and --judgements go together: give both, or none for the benchmark's own.")
    stages = ["knowledge"] if queries is not None else ["benchmark", "knowledge"]
    if not all(step.finished for step in pipeline.steps(stages)):
        run_stages(recipe_path, stages, run_dir=run_dir, overrides=overrides)
    folder = pipeline.knowledge_folder
    base = KnowledgeBase(folder, recipe.retrieval, version=version or pipeline.named_version())
    if queries is not None and judgements is not None:
        texts = read_queries(queries)
        relevant = judged(texts, read_judgements(judgements))
        asked = {query: texts[query] for query in relevant}
        sets = [QuerySet(name="given", queries=asked, relevant=relevant, by_document=True)]
    else:
        sets = gold_queries(pipeline, split)
    rows = [measure(base, one, cast("Mode", mode), k) for one in sets for mode in modes]
    print_retrieval_table(rows)
    print(f"knowledge base {folder}, version {base.version.tag} with {base.version.passages} passages")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def gold_queries(pipeline: Pipeline, split: str) -> list[QuerySet]:
    """The benchmark's questions of ``split`` with gold passages, and the rationales kept for them, if any."""
    questions = [q for q in pipeline.questions() if q.split == split and q.gold_passages]
    if not questions:
        raise UserError(
            f"benchmark {pipeline.recipe.questions_from().kind}: no question of the {split} split names its gold "
            "passages; give --queries and --judgements."
        )
    relevant = {q.question_id: dict.fromkeys(q.gold_passages, 1) for q in questions}
    asked = {q.question_id: q.question for q in questions}
    sets = [QuerySet(name="question", queries=asked, relevant=relevant, by_document=False)]
    rationales = pipeline.rationales_artifact if pipeline.benchmark_artifact.finished else None
    if rationales is not None and rationales.finished:
        rows = rationales.read_table("rationales.parquet").to_pylist()
        chosen = {
            row["question_id"]: row["rationale"]
            for row in reversed(rows)
            if row["kept"] and row["question_id"] in asked
        }
        if chosen:
            gold = {question_id: relevant[question_id] for question_id in chosen}
            sets.append(QuerySet(name="rationale", queries=chosen, relevant=gold, by_document=False))
    return sets


def measure(base: KnowledgeBase, asked: QuerySet, mode: Mode, k: int) -> dict[str, Any]:
    """Scores of one mode as :func:`retrieval_scores` names them, and queries per second (models loaded before)."""
    texts = dict(asked.queries)
    depth = k * _DEPTH if asked.by_document else k
    base.retrieve(dict(list(texts.items())[:1]), depth, mode)  # opens indexes and models
    started = time.perf_counter()
    found = base.retrieve(texts, depth, mode)
    seconds = time.perf_counter() - started
    documents = _documents(base, found) if asked.by_document else None
    scores = retrieval_scores(found, asked.relevant, ks=(1, 3, 10), documents=documents)
    return {"mode": mode, "queries": asked.name, "queries_per_second": len(texts) / seconds, **scores}


def _documents(base: KnowledgeBase, found: pa.Table) -> dict[str, str]:
    """The document of each passage that was found."""
    ids = sorted(set(found["passage_id"].to_pylist()))
    documents: dict[str, str] = {}
    dataset = lance.dataset(table_uri(base.folder), version=base.version.number)
    for at in range(0, len(ids), 500):
        rows = dataset.to_table(
            columns=["passage_id", "source_id"], filter=is_in("passage_id", ids[at : at + 500])
        )
        documents |= dict(zip(rows["passage_id"].to_pylist(), rows["source_id"].to_pylist(), strict=True))
    return documents
