"""Why a student with passages answers wrong: the passages were not found, or it did not read them.

KARD looked at 30 failures by hand and found 15 of each. Here every answer is sorted by whether its gold passages were
among those shown, and a wrong one also by whether the silver passages (found with the teacher's rationale) mend it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import pyarrow as pa

from kard_ray.benchmarks.question import Question

Failure = Literal["no_gold_found", "some_gold_found", "all_gold_found", "gold_unknown"]
_FAILURES: tuple[Failure, ...] = ("no_gold_found", "some_gold_found", "all_gold_found", "gold_unknown")


def analyse_errors(
    predictions: pa.Table, questions: Mapping[str, Question], *, k: int, silver: pa.Table | None
) -> dict[str, Any]:
    """Sort the answers of one method and searched source by what was found; JSON for results.json's ``errors``.

    ``silver`` are the same method's PREDICTIONS with silver passages, None if there are none. Gold passages are the
    benchmark's; if it knows none for any of these questions, the silver passages' ids stand in, and ``gold`` says
    "silver" (as KARD measures Hits@k; few of them need be needed for the answer). ``gold`` is None if neither is known.

    ``failures`` has, for questions with no, some or all gold passages among the first ``k`` shown, their number ``n``,
    how many were answered ``wrong``, and how many of those are ``mended_by_silver`` (None without silver answers). A
    wrong answer with all gold passages shown is a reading failure; with some or none missing, a retrieval failure.
    ``cases`` names each wrong answer.
    """
    silver_rows = {row["question_id"]: row for row in silver.to_pylist()} if silver is not None else {}
    rows = predictions.to_pylist()
    gold, source = _gold([row["question_id"] for row in rows], questions, silver_rows)
    failures: dict[Failure, dict[str, int | None]] = {
        name: {"n": 0, "wrong": 0, "mended_by_silver": 0 if silver_rows else None} for name in _FAILURES
    }
    cases: list[dict[str, Any]] = []
    for row in rows:
        question = row["question_id"]
        name = _found(row["passage_ids"][:k], gold.get(question, ()))
        counts = failures[name]
        _add(counts, "n")
        if row["correct"]:
            continue
        _add(counts, "wrong")
        mended = silver_rows[question]["correct"] if question in silver_rows else None
        if mended:
            _add(counts, "mended_by_silver")
        cases.append({"question_id": question, "failure": name, "mended_by_silver": mended})
    return {
        "n": len(rows),
        "wrong": len(cases),
        "gold": source,
        "retrieval_failures": sum(c["failure"] in ("no_gold_found", "some_gold_found") for c in cases),
        "reading_failures": sum(c["failure"] == "all_gold_found" for c in cases),
        "failures": failures,
        "cases": cases,
    }


def _gold(
    asked: Collection[str], questions: Mapping[str, Question], silver: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Collection[str]], Literal["benchmark", "silver"] | None]:
    known: dict[str, Collection[str]] = {q: questions[q].gold_passages for q in asked}
    if any(known.values()):
        return known, "benchmark"
    stand_in: dict[str, Collection[str]] = {q: silver[q]["passage_ids"] for q in asked if q in silver}
    return (stand_in, "silver") if any(stand_in.values()) else ({}, None)


def _found(shown: Collection[str], gold: Collection[str]) -> Failure:
    if not gold:
        return "gold_unknown"
    found = set(shown) & set(gold)
    if not found:
        return "no_gold_found"
    return "all_gold_found" if found == set(gold) else "some_gold_found"


def _add(counts: dict[str, int | None], name: str) -> None:
    counts[name] = (counts[name] or 0) + 1
