"""Measure ways of retrieving side by side, with one's own judgements or a benchmark's gold passages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import lance
import pyarrow as pa

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.relevance import judged, read_judgements, read_queries
from kard_ray.evaluation.retrieval_metrics import print_by_kind, print_retrieval_table, retrieval_scores
from kard_ray.evaluation.sources import RERANKED, SEARCHES
from kard_ray.execution import run_stages
from kard_ray.knowledge.fragments import is_in, table_uri
from kard_ray.knowledge.retrieval import KnowledgeBase, Mode
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError

_DEPTH = 4  # times as many passages are asked for as documents: several may be cut from one document
_SILVER_GOLD = (
    3  # silver passages that stand in for gold ones (KARD: the best three of the teacher's rationale)
)

Find = Callable[[Mapping[str, str], int], pa.Table]  # queries by id, k -> schema RETRIEVED


@dataclass(frozen=True, kw_only=True, slots=True)
class QuerySet:
    """Queries of one kind, and what is relevant for each: grades by document id, or by passage id."""

    name: str
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]
    by_document: bool
    kinds: Mapping[str, str] = field(default_factory=dict)  # of each query's question


def evaluate_retrieval(
    recipe_path: str, *, run_dir: str | None, overrides: Iterable[str], queries: Path | None, judgements: Path | None,
    modes: Sequence[str], k: int, version: str | None, split: str, out: Path | None,
) -> None:  # fmt: skip
    """Print one line per mode and kind of query; builds the recipe's knowledge base first when it is not there.

    A reranker has to be trained before. The written figures also hold one row per kind of question.
    """
    overrides = list(overrides)
    recipe = load_recipe(recipe_path, overrides)
    run = RunDirectory(run_dir or f"runs/{recipe.name}")
    pipeline = Pipeline(recipe, run)
    if (queries is None) != (judgements is None):
        raise UserError("--queries and --judgements go together: give both, or none for the benchmark's own.")
    for mode in modes:
        if mode not in SEARCHES:
            raise UserError(f"--modes {mode}: expected some of {', '.join(SEARCHES)}.")
    stages = ["knowledge"] if queries is not None else ["benchmark", "knowledge"]
    if not all(step.finished for step in pipeline.steps(stages)):
        run_stages(recipe_path, stages, run_dir=run_dir, overrides=overrides)
    reranked = any(mode in RERANKED for mode in modes)
    if reranked:
        pipeline.trained_reranker()  # what it lacks is told before anything is measured
    # A reranker belongs to the version that students read, which may lack passages that give test questions away.
    number = version or (pipeline.knowledge_version if reranked else pipeline.named_version())
    folder = pipeline.knowledge_folder
    base = KnowledgeBase(folder, recipe.retrieval, version=number)
    if queries is not None and judgements is not None:
        texts = read_queries(queries)
        relevant = judged(texts, read_judgements(judgements))
        asked = {query: texts[query] for query in relevant}
        sets = [QuerySet(name="given", queries=asked, relevant=relevant, by_document=True)]
    else:
        sets = gold_queries(pipeline, split)
    finders = {mode: finder(base, mode, pipeline, version) for mode in modes}
    rows = [row for one in sets for mode in modes for row in measure(finders[mode], base, one, mode, k)]
    whole = [row for row in rows if not row["kind"]]
    print_retrieval_table(whole)
    if len(whole) < len(rows):
        print_by_kind(rows)
    print(f"knowledge base {folder}, version {base.version.tag} with {base.version.passages} passages")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def finder(base: KnowledgeBase, mode: str, pipeline: Pipeline, version: str | None) -> Find:
    """How ``mode`` searches ``base``; raises UserError when a reranker does not belong to it."""
    if mode not in RERANKED:
        return lambda queries, k: base.retrieve(queries, k, cast("Mode", mode))
    from kard_ray.reranker.retrieval import Reranking

    trained = pipeline.trained_reranker(version)
    reranking = Reranking(base, trained.folder, trained.token_vectors, trained.config)
    if mode == "reranker":
        return reranking.rerank
    return lambda queries, k: reranking.nearest(queries, k)[0]


def gold_queries(pipeline: Pipeline, split: str) -> list[QuerySet]:
    """The benchmark's questions of ``split`` with gold passages, and the rationales kept for them, if any.

    A benchmark that knows no gold passages has the best silver ones in their place, if there are any; rationales found
    these, so they are not measured then.
    """
    questions = {q.question_id: q for q in pipeline.questions() if q.split == split}
    gold = {name: dict.fromkeys(q.gold_passages, 1) for name, q in questions.items() if q.gold_passages}
    if not gold:
        silver = _silver_gold(pipeline, split)
        if not silver:
            raise UserError(
                f"benchmark {pipeline.recipe.questions_from().kind}: no question of the {split} split names its gold "
                "passages, and there are no silver ones; give --queries and --judgements."
            )
        return [_of_questions("question, gold: silver", questions, silver)]
    sets = [_of_questions("question", questions, gold)]
    rationales = pipeline.rationales_artifact if pipeline.benchmark_artifact.finished else None
    if rationales is not None and rationales.finished:
        rows = rationales.read_table("rationales.parquet").to_pylist()
        chosen = {
            row["question_id"]: row["rationale"]
            for row in reversed(rows)
            if row["kept"] and row["question_id"] in gold
        }
        if chosen:
            found = {name: gold[name] for name in chosen}
            of_questions = _of_questions("rationale", questions, found)
            sets.append(replace(of_questions, queries=chosen))
    return sets


def _of_questions(
    name: str, questions: Mapping[str, Question], relevant: Mapping[str, Mapping[str, int]]
) -> QuerySet:
    return QuerySet(
        name=name,
        queries={identity: questions[identity].question for identity in relevant},
        relevant=relevant,
        by_document=False,
        kinds={identity: questions[identity].kind for identity in relevant},
    )


def _silver_gold(pipeline: Pipeline, split: str) -> dict[str, dict[str, int]]:
    """The best silver passages of each question of ``split``, of its first rationale that has some."""
    if not pipeline.silver_artifact.finished:
        return {}
    found: dict[str, dict[str, int]] = {}
    for row in pipeline.silver_artifact.read_table("silver.parquet").sort_by("rationale_id").to_pylist():
        if row["split"] == split and row["passages"]:
            best = [passage["passage_id"] for passage in row["passages"][:_SILVER_GOLD]]
            found.setdefault(row["question_id"], dict.fromkeys(best, 1))
    return found


def measure(find: Find, base: KnowledgeBase, asked: QuerySet, mode: str, k: int) -> list[dict[str, Any]]:
    """Scores as :func:`retrieval_scores` names them: of all queries, and of each kind if there are several.

    The first row tells queries per second too (models loaded before).
    """
    texts = dict(asked.queries)
    depth = k * _DEPTH if asked.by_document else k
    find(dict(list(texts.items())[:1]), depth)  # opens indexes and models
    started = time.perf_counter()
    found = find(texts, depth)
    seconds = time.perf_counter() - started
    documents = _documents(base, found) if asked.by_document else None

    def row(kind: str, relevant: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
        scores = retrieval_scores(found, relevant, ks=(1, 3, 10), documents=documents)
        return {"mode": mode, "queries": asked.name, "kind": kind, **scores}

    kinds = sorted(set(asked.kinds.values()) - {""})
    return [row("", asked.relevant) | {"queries_per_second": len(texts) / seconds}] + [
        row(kind, {name: grades for name, grades in asked.relevant.items() if asked.kinds[name] == kind})
        for kind in (kinds if len(kinds) > 1 else ())
    ]


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
