"""The numbers of a comparison: cells, rows over seeds, tested differences, trade-off curves, errors.

A *cell* is one student (method, model, seed) answering all questions with passages from one source; a *row* is the
mean of the cells that differ only in their seed. Everything here is a function of predictions and manifests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kard_ray.benchmarks.question import Question
from kard_ray.comparison.rows import ALONE, GATED, SILVER, Key, pairs_to_test, row_id
from kard_ray.evaluation.errors import analyse_errors
from kard_ray.evaluation.gating import choose_threshold, gated, gating_curve
from kard_ray.evaluation.model_shape import ModelShape
from kard_ray.evaluation.paired import compare_pairs
from kard_ray.evaluation.published import SKINTERN_AVERAGES, SKINTERN_TABLE, published_rows
from kard_ray.evaluation.search_cost import NOTHING, SearchCost
from kard_ray.evaluation.summary import correct_by_question, merge_seeds, positions, stack_seeds, summarise

BASELINE = "std_cot"  # relative FLOPs are multiples of this method's (SKIntern, Table 1)
CURVE_POINTS = 200  # of a learning curve in results.json; all steps stand in the student's curve.parquet


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a student was trained."""

    seconds: float
    tokens: int  # prompt and target, over all epochs
    final_loss: float | None
    curve: pa.Table | None  # step, stage, loss, learning_rate, gradient_norm, tokens_per_second


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What one student answered with passages from one source."""

    student: str
    method: str
    seed: int
    passages: str
    predictions: pa.Table  # schema PREDICTIONS
    k: int  # passages shown
    shape: ModelShape | None  # None: its FLOPs are not counted
    parameters: int | None
    searching: SearchCost = NOTHING  # FLOPs per question
    training: Training | None = None  # None: a prompted baseline

    @property
    def key(self) -> Key:
        """Its row."""
        return (self.student, self.method, self.passages)


@dataclass(frozen=True, kw_only=True, slots=True)
class Intern:
    """A student that answers alone and with passages, and asks for them only when it is unsure."""

    alone: Answers
    asking: Answers
    curve: list[dict[str, Any]]

    def record(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "method": self.asking.method, "student": self.asking.student, "seed": self.asking.seed,
            "passages": self.asking.passages, "curve": self.curve,
        }  # fmt: skip


def by_source(answers: Answers, costs: Mapping[str, SearchCost]) -> list[Answers]:
    """``answers`` of all sources, divided by source in the order in which they stand, each with its search's cost."""
    table = answers.predictions
    return [
        replace(
            answers,
            passages=source,
            predictions=table.filter(pc.equal(table["source"], source)),
            k=0 if source == ALONE else answers.k,
            searching=costs.get(source, NOTHING),
        )
        for source in dict.fromkeys(table["source"].to_pylist())
    ]


def with_gated(answers: Sequence[Answers], asking: Collection[str]) -> tuple[list[Answers], list[Intern]]:
    """``answers`` and, for methods in ``asking``, what they would answer if they asked only when unsure.

    The threshold for one half of the questions is chosen on the other half, so no question takes part in the choice
    that decides how it is answered.
    """
    everything: list[Answers] = []
    interns = []
    alone_of = {
        (a.student, a.method, a.seed): a for a in answers if a.method in asking and a.passages == ALONE
    }
    for other in answers:
        everything.append(other)
        alone = alone_of.get((other.student, other.method, other.seed))
        if alone is not None and other.passages not in (ALONE, SILVER):
            everything.append(_gated(alone, other))
            curve = gating_curve(
                alone.predictions, other.predictions, shape=other.shape, searching=other.searching
            )
            interns.append(Intern(alone=alone, asking=other, curve=[point.as_dict() for point in curve]))
    return everything, interns


def _gated(alone: Answers, asking: Answers) -> Answers:
    """What the student answers if it asks when unsure; its searches are paid for by the questions that ask."""
    halves = [(_half(alone.predictions, which), _half(asking.predictions, which)) for which in (0, 1)]
    tables = []
    for which in (0, 1):
        chosen_on = halves[1 - which]
        if not halves[which][0].num_rows:
            continue
        if not chosen_on[0].num_rows:  # a single question
            chosen_on = halves[which]
        curve = gating_curve(*chosen_on, shape=asking.shape, searching=asking.searching)
        tables.append(gated(*halves[which], choose_threshold(curve).threshold))
    table = pa.concat_tables(tables)
    asked = sum(bool(ids) for ids in table["passage_ids"].to_pylist()) / max(1, table.num_rows)
    # No k: Hits@k over questions that were never searched for would tell nothing.
    return replace(
        asking, passages=f"{GATED} {asking.passages}", predictions=table, k=0,
        searching=SearchCost(*(part * asked for part in asking.searching)),
    )  # fmt: skip


def _half(table: pa.Table, which: int) -> pa.Table:
    sides = [
        hashlib.sha256(name.encode()).digest()[0] % 2 == which for name in table["question_id"].to_pylist()
    ]
    return table.filter(pa.array(sides, pa.bool_()))


def cell_record(answers: Answers, questions: Mapping[str, Question]) -> dict[str, Any]:
    """One cell of results.json; counts and shares as :func:`summarise` gives them, times in seconds."""
    training = answers.training
    return {
        "method": answers.method,
        "student": answers.student,
        "seed": answers.seed,
        "passages": answers.passages,
        **summarise(
            answers.predictions,
            questions,
            k=answers.k,
            shape=answers.shape,
            searching=answers.searching,
        ),
        "train_seconds": training.seconds if training else None,
        "train_tokens": training.tokens if training else None,
        "final_loss": training.final_loss if training else None,
        "curve": thinned(training.curve) if training else [],
    }


def thinned(curve: pa.Table | None, points: int = CURVE_POINTS) -> list[list[float]]:
    """``[step, loss]``: means over at most ``points`` equal spans of steps, so that noise shrinks and nothing moves."""
    if curve is None or not curve.num_rows:
        return []
    steps, losses = curve["step"].to_numpy(), curve["loss"].to_numpy()
    size = -(-len(steps) // points)
    spans = [slice(at, at + size) for at in range(0, len(steps), size)]
    return [[int(steps[span][-1]), round(float(losses[span].mean()), 5)] for span in spans]


def make_results(
    answers: Sequence[Answers],
    questions: Mapping[str, Question],
    *,
    asking: Collection[str] = (),
    claims: Collection[str] = (),
    pairs: Sequence[tuple[str, str]] = (),
    groups: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Any]:
    """``cells``, ``rows``, ``pairs``, ``groups``, ``gating``, ``errors`` of results.json.

    ``asking`` are the methods that are tested alone and with passages; ``claims`` those whose differences from all
    others of the same student are tested, and ``pairs`` further rows by their names, all as one family (Holm); a pair
    without answers is left out. ``groups`` are kinds of questions by a name, of which the same pairs are tested once
    more, each group as a family of its own; one without a question is left out.
    """
    kinds = {name: question.kind for name, question in questions.items()}
    asked = sorted(kinds)  # the order of stack_seeds
    found_in = {name: positions(asked, kinds, chosen) for name, chosen in (groups or {}).items()}
    groups = {name: chosen for name, chosen in (groups or {}).items() if found_in[name]}
    everything, interns = with_gated(answers, asking)
    cells = [(found, cell_record(found, questions)) for found in everything]
    rows, correct = [], {}
    for key in dict.fromkeys(found.key for found, _ in cells):
        mine = [(found, record) for found, record in cells if found.key == key]
        row, correct[row_id(key)] = _row(key, mine, kinds, groups)
        rows.append(row)
    _relate(rows)
    tested = pairs_to_test([found.key for found in everything], claims)
    for pair in pairs:
        if {*pair} <= correct.keys() and pair not in tested and pair[::-1] not in tested:
            tested.append(pair)
    students = {row["id"]: (row["student"], row["method"], *row["seeds"]) for row in rows}
    return {
        "cells": [record for _, record in cells],
        "rows": rows,
        "pairs": compare_pairs(correct, tested, students=students),
        "groups": [
            {
                "name": name,
                "kinds": sorted(chosen),
                "n": len(found_in[name]),
                "pairs": compare_pairs(
                    {row: correct_SQ[:, found_in[name]] for row, correct_SQ in correct.items()},
                    tested,
                    students=students,
                ),
            }
            for name, chosen in groups.items()
        ],
        "gating": [intern.record() for intern in interns],
        "errors": _errors(answers, questions),
    }


def _row(
    key: Key,
    mine: Sequence[tuple[Answers, dict[str, Any]]],
    kinds: Mapping[str, str],
    groups: Mapping[str, Collection[str]],
) -> tuple[dict[str, Any], np.ndarray]:
    """The mean of the cells of one row, and its answers, right or wrong, as seeds x questions."""
    student, method, passages = key
    by_seed = [correct_by_question(found.predictions) for found, _ in mine]
    _, correct_SQ = stack_seeds(by_seed)
    records = [record for _, record in mine]
    trained = [record["train_seconds"] for record in records if record["train_seconds"] is not None]
    return {
        "id": row_id(key),
        "method": method,
        "student": student,
        "passages": passages,
        "parameters": mine[0][0].parameters,
        "seeds": [found.seed for found, _ in mine],
        **merge_seeds(records, by_seed, kinds, groups),
        "train_seconds": sum(trained) / len(trained) if trained else None,
    }, correct_SQ


def _relate(rows: Sequence[dict[str, Any]]) -> None:
    """Set ``flops_relative`` and ``prefill_relative``: FLOPs per question as multiples of one row's.

    The first counts everything, the second the prompts alone, as SKIntern does. The row is the first student's
    :data:`BASELINE`; where that is not in the comparison, the cheapest row. Null where FLOPs are unknown.
    """
    known = [row for row in rows if row["flops_per_question"] is not None]
    chosen = [row for row in known if row["method"] == BASELINE]
    unit = chosen[0] if chosen else min(known, key=_total, default=None)
    for row in rows:
        row["flops_relative_to"] = unit["id"] if unit is not None else None
        row["flops_relative"] = row["prefill_relative"] = None
        if unit is not None and row["flops_per_question"] is not None:
            row["flops_relative"] = _total(row) / _total(unit)
            row["prefill_relative"] = row["skintern_flops_per_question"] / unit["skintern_flops_per_question"]


def _total(row: Mapping[str, Any]) -> float:
    return float(row["flops_per_question"]["total"])


def _errors(answers: Sequence[Answers], questions: Mapping[str, Question]) -> list[dict[str, Any]]:
    """For each student that searches for passages: which wrong answers retrieval explains, and which reading."""
    silver = {
        (found.student, found.method, found.seed): found.predictions
        for found in answers
        if found.passages == SILVER
    }
    return [
        {
            "method": found.method,
            "student": found.student,
            "seed": found.seed,
            "passages": found.passages,
            **analyse_errors(
                found.predictions,
                questions,
                k=found.k,
                silver=silver.get((found.student, found.method, found.seed)),
            ),
        }
        for found in answers
        if found.k and found.passages != SILVER
    ]


def unknown_kinds(
    groups: Mapping[str, Collection[str]], questions: Mapping[str, Question]
) -> list[dict[str, str]]:
    """Kinds in ``groups`` that no question is of, as what is missing of a report.

    It is told, not refused: which kinds there are is known when the benchmark has been read, and a mistake here must
    not cost trained students.
    """
    kinds = sorted({question.kind for question in questions.values()} - {""})
    return [
        {
            "cell": f"compare.groups.{name}",
            "reason": f"no question is of kind {kind!r}; there are {', '.join(kinds) or 'no kinds'}.",
        }
        for name, chosen in groups.items()
        for kind in chosen
        if kind not in kinds
    ]


def published(benchmark: str) -> list[dict[str, Any]]:
    """What the papers report for ``benchmark``; for one that they do not have, SKIntern's averages over its seven."""
    averages = [
        (row.student, row.method, row.average, row.relative_flops, row.source, row.note)
        for row in SKINTERN_TABLE
    ] + [(row.student, row.method, row.average, None, row.source, row.note) for row in SKINTERN_AVERAGES]
    return published_rows(benchmark) or [
        {
            "paper": "SKIntern", "student": student, "method": method, "benchmark": "mean of its seven",
            "accuracy": average, "relative_flops": flops, "source": source, "note": note, "variant": "",
        }
        for student, method, average, flops, source, note in averages
    ]  # fmt: skip
