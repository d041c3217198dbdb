"""The result table: one record per method and passage source, written as JSON and Parquet and printed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.model_shape import ModelShape
from kard_ray.evaluation.scoring import gold_found, wilson_interval
from kard_ray.evaluation.search_cost import SearchCost, search_costs
from kard_ray.evaluation.sources import rounds_in_words, searched
from kard_ray.evaluation.summary import latency, mean_cost
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.student.methods.registry import MethodName

VERSION = 2


def records(
    predictions: Mapping[MethodName, pa.Table],
    questions: Mapping[str, Question],
    *,
    benchmark: str,
    split: str,
    k: int,
    shapes: Mapping[MethodName, ModelShape | None] | None = None,
    costs: Mapping[MethodName, Mapping[str, SearchCost]] | None = None,
) -> list[dict[str, Any]]:
    """One record per (method, passage source); ``predictions`` maps a method to its PREDICTIONS.

    Accuracy and its 95 % Wilson interval are shares from 0 to 1; tokens are sums over all questions; ``by_kind`` holds
    the same for each kind of question. ``hits_at_k`` and ``all_gold_at_k`` are null where no passages were shown or
    the benchmark knows no gold passages. ``flops_per_question`` is null without the student's shape in ``shapes``,
    and for a source whose search has no cost in ``costs`` (by method and source). Latencies are null when they are
    unknown.
    """
    found: list[dict[str, Any]] = []
    for method, table in predictions.items():
        rows = table.to_pylist()
        known = (costs or {}).get(method)
        if known is None:
            known = search_costs(None, Counter(row["source"] for row in rows))
        for source in dict.fromkeys(row["source"] for row in rows):
            mine = [row for row in rows if row["source"] == source]
            kinds = sorted({questions[row["question_id"]].kind for row in mine})
            shown = k if source != "none" else 0
            summary = _summary(mine, questions, k=shown)
            found.append(
                {"method": method, "passages": source, "benchmark": benchmark, "split": split, "k": shown}
                | summary
                | {"flops_per_question": _cost(mine, (shapes or {}).get(method), known.get(source))}
                | latency(mine)
                | {
                    "by_kind": {
                        kind or "all": _summary(
                            [row for row in mine if questions[row["question_id"]].kind == kind],
                            questions,
                            k=shown,
                        )
                        for kind in kinds
                    }
                }
            )  # fmt: skip
    return found


def _summary(
    rows: Sequence[Mapping[str, Any]], questions: Mapping[str, Question], *, k: int
) -> dict[str, Any]:
    correct = sum(row["correct"] for row in rows)
    low, high = wilson_interval(correct, len(rows))
    gold = [questions[row["question_id"]].gold_passages for row in rows]
    hits, complete = gold_found([row["passage_ids"] for row in rows], gold, k=k) if k else (None, None)
    return {
        "n": len(rows),
        "correct": correct,
        "accuracy": correct / len(rows) if rows else 0.0,
        "ci_low": low,
        "ci_high": high,
        "hits_at_k": hits,
        "all_gold_at_k": complete,
        "unparsable": sum(row["prediction_text"] is None for row in rows),
        "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
        "generated_tokens": sum(row["generated_tokens"] for row in rows),
    }


def _cost(
    rows: Sequence[Mapping[str, Any]],
    shape: ModelShape | None,
    searching: SearchCost | None,
) -> dict[str, float] | None:
    return None if searching is None else mean_cost(rows, shape, searching.retriever, searching.reranker)


def flat(found: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Records as a table: a row ``kind = ""`` for all questions, and one row per kind."""
    rows = []
    for record in found:
        head = {name: record[name] for name in ("method", "passages", "benchmark", "split", "k")}
        overall = {
            name: value
            for name, value in record.items()
            if name not in {*head, "by_kind", "flops_per_question"}
        }
        flops = record["flops_per_question"]
        overall["flops_per_question"] = flops["total"] if flops is not None else None
        rows.append(head | {"kind": ""} | overall)
        rows += [head | {"kind": kind} | values for kind, values in record["by_kind"].items()]
    return pa.Table.from_pylist(rows)


def write_report(
    found: Sequence[Mapping[str, Any]], seconds: Mapping[str, float], artifact: Artifact
) -> Manifest:
    """``results.json`` (list of records), ``results.parquet`` (also by kind), ``stages.json`` (wall seconds)."""
    artifact.write_text("results.json", json.dumps(list(found), indent=2, ensure_ascii=False) + "\n")
    artifact.write_table("results.parquet", flat(found))
    artifact.write_text("stages.json", json.dumps(dict(seconds), indent=2) + "\n")
    return artifact.seal(rows={"results": len(found)})


def print_report(found: Sequence[Mapping[str, Any]], seconds: Mapping[str, float]) -> None:
    """The tables a reader sees at the end of a run."""
    console = Console(width=None if Console().is_terminal else 120)
    head = found[0]
    table = Table(title=f"{head['benchmark']}, {head['split']} split, n = {head['n']}")
    for name in (
        "method",
        "passages",
        "accuracy",
        "95 % interval",
        "Hits@k",
        "all gold@k",
        "no answer",
        "prompt tok.",
        "gen. tok.",
    ):
        table.add_column(name, justify="left" if name in ("method", "passages") else "right")
    for r in found:
        table.add_row(
            r["method"],
            _source(r["passages"]) + (f" k={r['k']}" if r["k"] else ""),
            _percent(r["accuracy"]),
            f"{_percent(r['ci_low'])} – {_percent(r['ci_high'])}",
            _percent(r["hits_at_k"]),
            _percent(r["all_gold_at_k"]),
            str(r["unparsable"]),
            f"{r['prompt_tokens']:,}",
            f"{r['generated_tokens']:,}",
        )
    console.print(table)
    if any(r["flops_per_question"] is not None or r["seconds_p50"] is not None for r in found):
        console.print(_cost_table(found))
    kinds = list(dict.fromkeys(kind for r in found for kind in r["by_kind"]))
    if len(kinds) > 1:
        by_kind = Table(title="Accuracy by kind of question (n)")
        by_kind.add_column("method")
        by_kind.add_column("passages")
        for kind in kinds:
            by_kind.add_column(kind, justify="right")
        for r in found:
            cells = [r["by_kind"].get(kind) for kind in kinds]
            by_kind.add_row(
                r["method"],
                _source(r["passages"]),
                *(f"{_percent(c['accuracy'])} ({c['n']})" if c else "–" for c in cells),
            )
        console.print(by_kind)
    times = Table(title="Wall time by stage")
    times.add_column("stage")
    times.add_column("seconds", justify="right")
    for stage, value in seconds.items():
        times.add_row(stage, f"{value:.1f}")
    times.add_row("sum", f"{sum(seconds.values()):.1f}")
    console.print(times)


def _source(passages: str) -> str:
    """``reranker, two rounds``; the passages' own name for one."""
    found, rounds = searched(passages), rounds_in_words(passages)
    return f"{found.search}, {rounds}" if found is not None and rounds else passages


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _cost_table(found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Cost per question (GFLOPs; latency in the engine, all questions at once)")
    parts = ("prefill", "decode", "retriever", "reranker", "total")
    for name in ("method", "passages", *parts, "p50 s", "p95 s"):
        table.add_column(name, justify="left" if name in ("method", "passages") else "right")
    for r in found:
        cost = r["flops_per_question"] or {}
        table.add_row(
            r["method"],
            _source(r["passages"]),
            *(_number(cost[part] / 1e9 if cost else None, ",.1f") for part in parts),
            *(_number(r[name], ".2f") for name in ("seconds_p50", "seconds_p95")),
        )
    return table


def _number(value: float | None, pattern: str) -> str:
    return "–" if value is None else format(value, pattern)
