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
from kard_ray.evaluation.errors import analyse_errors
from kard_ray.evaluation.gating import choose_threshold, gated, gating_curve
from kard_ray.evaluation.model_shape import ModelShape
from kard_ray.evaluation.paired import compare_pairs
from kard_ray.evaluation.published import SKINTERN_AVERAGES, SKINTERN_TABLE, published_rows
from kard_ray.evaluation.search_cost import NOTHING, SearchCost
from kard_ray.evaluation.summary import correct_by_question, merge_seeds, stack_seeds, summarise

ALONE, SILVER, GATED = "none", "silver", "gated"  # passages: none; the upper bound; asked for when unsure
BASELINE = "std_cot"  # relative FLOPs are multiples of this method's (SKIntern, Table 1)
CURVE_POINTS = 200  # of a learning curve in results.json; all steps stand in the student's curve.parquet

Key = tuple[str, str, str]  # student, method, passages: a row


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


def row_id(key: Key) -> str:
    """How pairs name a row."""
    return "/".join(key)


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
) -> dict[str, Any]:
    """``cells``, ``rows``, ``pairs``, ``gating``, ``errors`` of results.json.

    ``asking`` are the methods that are tested alone and with passages; ``claims`` those whose differences from all
    others of the same student are tested, as one family (Holm).
    """
    everything, interns = with_gated(answers, asking)
    cells = [(found, cell_record(found, questions)) for found in everything]
    rows, correct = [], {}
    for key in dict.fromkeys(found.key for found, _ in cells):
        mine = [(found, record) for found, record in cells if found.key == key]
        row, correct[row_id(key)] = _row(key, mine, questions)
        rows.append(row)
    _relate(rows)
    pairs = compare_pairs(
        correct,
        pairs_to_test([found.key for found in everything], claims),
        students={row["id"]: (row["student"], row["method"], *row["seeds"]) for row in rows},
    )
    return {
        "cells": [record for _, record in cells],
        "rows": rows,
        "pairs": pairs,
        "gating": [intern.record() for intern in interns],
        "errors": _errors(answers, questions),
    }


def _row(
    key: Key, mine: Sequence[tuple[Answers, dict[str, Any]]], questions: Mapping[str, Question]
) -> tuple[dict[str, Any], np.ndarray]:
    """The mean of the cells of one row, and its answers, right or wrong, as seeds x questions."""
    student, method, passages = key
    by_seed = [correct_by_question(found.predictions) for found, _ in mine]
    ids, correct_SQ = stack_seeds(by_seed)
    kinds = {name: questions[name].kind for name in ids}
    records = [record for _, record in mine]
    trained = [record["train_seconds"] for record in records if record["train_seconds"] is not None]
    return {
        "id": row_id(key),
        "method": method,
        "student": student,
        "passages": passages,
        "parameters": mine[0][0].parameters,
        "seeds": [found.seed for found, _ in mine],
        **merge_seeds(records, by_seed, kinds),
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


def pairs_to_test(keys: Sequence[Key], claims: Collection[str]) -> list[tuple[str, str]]:
    """Which rows are compared: each claimed method with every other of its student. Without one, all pairs.

    Few tests, so that the correction for their number leaves something to be seen: a method stands against others as it
    reads its first source, and its further ones (a reranker, more rounds) against that. Silver passages are found with
    the teacher's rationale, so they stand against their own method, and against another's silver passages; the two ways
    of answering of a method that chooses between them stand against their own method alone.
    """
    rows = list(dict.fromkeys(keys))
    gated = {key[:2] for key in rows if key[2].startswith(GATED)}
    parts = [key for key in rows if key[2] == SILVER or (key[:2] in gated and not key[2].startswith(GATED))]
    fair = [key for key in rows if key not in parts]
    first = {key[:2]: key for key in reversed(fair)}
    leading = [key for key in fair if first[key[:2]] == key]
    claimed = [key for key in leading if key[1] in claims]
    pairs = [(key, first[key[:2]]) for key in fair if key not in leading]
    for at, a in enumerate(leading):
        for b in leading[at + 1 :]:
            if a[0] != b[0] or (claimed and a not in claimed and b not in claimed):
                continue
            # The claimed method comes first; of two, the one that is claimed earlier stays in front.
            pairs.append((b, a) if claimed and a not in claimed else (a, b))
    pairs.sort(key=lambda pair: rows.index(pair[0]))
    for part in parts:
        own = [key for key in fair if key[:2] == part[:2] and key[2] != ALONE]
        pairs += [(part, other) if part[2] == SILVER else (other, part) for other in own]
    silver = [key for key in rows if key[2] == SILVER]
    pairs += [
        (a, b)
        for a in silver
        for b in silver
        if a[0] == b[0] and a[1] in claims and (b[1] not in claims or rows.index(a) < rows.index(b))
    ]
    return [(row_id(a), row_id(b)) for a, b in pairs]


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
