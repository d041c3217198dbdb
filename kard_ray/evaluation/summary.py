"""From the predictions of one student and passage source to its figures; and from several seeds to one row.

Tables here are PREDICTIONS of one method and one source, a row per question.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.flops import Cost, question_cost, skintern_flops
from kard_ray.evaluation.hits import hits_curve
from kard_ray.evaluation.intervals import Floats, bootstrap_interval
from kard_ray.evaluation.model_shape import ModelShape
from kard_ray.evaluation.scoring import wilson_interval
from kard_ray.evaluation.search_cost import NOTHING, SearchCost

WITHOUT_KIND = "all"  # the name in ``by_kind`` of questions that have no kind

_SUMS = ("parse_failures", "errors", "prompt_tokens", "generated_tokens")
_PER_QUESTION = ("skintern_flops_per_question", "seconds_p50", "seconds_p95")


def summarise(
    predictions: pa.Table,
    questions: Mapping[str, Question],
    *,
    k: int,
    shape: ModelShape | None,
    searching: SearchCost = NOTHING,
) -> dict[str, Any]:
    """The figures of one cell of results.json; ``questions`` by id, ``k`` passages shown at most (0: none).

    Accuracy, its 95 % Wilson interval and hits are shares from 0 to 1; tokens, parse failures (no answer could be
    read; counted as wrong) and errors (nothing was written; also parse failures) are sums over the questions, FLOPs
    means per question, those of ``searching`` too, latencies in seconds. FLOPs are None without a ``shape`` (an
    architecture that is not counted), latencies when the engine told none, hits where no passages were shown or no gold
    passage is known.
    """
    rows = predictions.to_pylist()
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(questions[row["question_id"]].kind or WITHOUT_KIND, []).append(row)
    return (
        _accuracy(rows, questions, k=k)
        | {
            "errors": sum(bool(row["error"]) for row in rows),
            "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
            "generated_tokens": sum(row["generated_tokens"] for row in rows),
            "flops_per_question": mean_cost(rows, shape, searching.retriever, searching.reranker),
            "skintern_flops_per_question": _mean_skintern(rows, shape),
        }
        | latency(rows)
        | {"by_kind": {kind: _accuracy(kinds[kind], questions, k=k) for kind in sorted(kinds)}}
    )


def correct_by_question(predictions: pa.Table) -> dict[str, bool]:
    """Whether each question was answered right; ValueError if one stands twice (several sources in one table)."""
    ids = predictions["question_id"].to_pylist()
    correct = dict(zip(ids, predictions["correct"].to_pylist(), strict=True))
    if len(correct) != len(ids):
        raise ValueError("a question was answered twice: give the predictions of one source")
    return correct


def stack_seeds(by_seed: Sequence[Mapping[str, bool]]) -> tuple[list[str], Floats]:
    """Question ids in their order, and seeds x questions of 0 and 1, whatever the order of the answers.

    Raises ValueError if the seeds did not answer the same questions.
    """
    ids = sorted(by_seed[0])
    for other in by_seed[1:]:
        if other.keys() != by_seed[0].keys():
            differing = sorted(other.keys() ^ by_seed[0].keys())
            raise ValueError(
                f"seeds answered different questions ({len(differing)} differ, first {differing[0]})"
            )
    return ids, np.array([[float(one[question]) for question in ids] for one in by_seed])


def merge_seeds(
    cells: Sequence[Mapping[str, Any]],
    by_seed: Sequence[Mapping[str, bool]],
    kinds: Mapping[str, str],
    groups: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Any]:
    """One row of results.json from the cells of several seeds (results of :func:`summarise`), in the same order.

    ``by_seed`` are their answers (:func:`correct_by_question`), ``kinds`` the kind of each question, ``groups`` the
    kinds of each group. Accuracy has the bootstrap's interval over questions and seeds, for all questions, for each
    kind and for each group; everything else is the mean over seeds, None where a seed has none. Raises ValueError if
    the seeds did not answer the same questions.
    """
    ids, correct_SQ = stack_seeds(by_seed)

    def merged(chosen: Collection[str]) -> dict[str, Any]:
        return _merged_accuracy(correct_SQ[:, positions(ids, kinds, chosen)])

    return (
        _merged_accuracy(correct_SQ)
        | {"accuracy_by_seed": [float(share) for share in correct_SQ.mean(axis=1)]}
        | {name: _mean([cell[name] for cell in cells]) for name in (*_SUMS, *_PER_QUESTION)}
        | {name: _mean_lists([cell[name] for cell in cells]) for name in ("hits_at", "all_gold_at")}
        | {"flops_per_question": _mean_dicts([cell["flops_per_question"] for cell in cells])}
        | {
            "by_kind": {
                kind: merged([kind]) for kind in sorted({kinds[name] or WITHOUT_KIND for name in ids})
            }
        }
        | {"by_group": {group: merged(chosen) for group, chosen in (groups or {}).items()}}
    )


def positions(ids: Sequence[str], kinds: Mapping[str, str], chosen: Collection[str]) -> list[int]:
    """Where the questions of the ``chosen`` kinds stand among ``ids``."""
    return [at for at, name in enumerate(ids) if (kinds[name] or WITHOUT_KIND) in chosen]


def mean_cost(
    rows: Sequence[Mapping[str, Any]],
    shape: ModelShape | None,
    retriever: float = 0.0,
    reranker: float = 0.0,
) -> dict[str, float] | None:
    """FLOPs per question of rows of PREDICTIONS, by part; None without a shape or a row."""
    if shape is None or not rows:
        return None
    costs = [question_cost(shape, row["calls"]) for row in rows]
    return Cost(
        prefill=sum(cost.prefill for cost in costs) / len(rows),
        decode=sum(cost.decode for cost in costs) / len(rows),
        retriever=retriever,
        reranker=reranker,
    ).as_dict()


def latency(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """``seconds_p50`` and ``seconds_p95`` of the rows whose latency is known, None when none is."""
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    if not seconds:
        return {"seconds_p50": None, "seconds_p95": None}
    p50, p95 = np.percentile(seconds, (50, 95))
    return {"seconds_p50": float(p50), "seconds_p95": float(p95)}


def _accuracy(
    rows: Sequence[Mapping[str, Any]], questions: Mapping[str, Question], *, k: int
) -> dict[str, Any]:
    correct = sum(row["correct"] for row in rows)
    low, high = wilson_interval(correct, len(rows))
    gold = [questions[row["question_id"]].gold_passages for row in rows]
    hits, complete = hits_curve([row["passage_ids"] for row in rows], gold, k=k)
    return {
        "n": len(rows),
        "correct": correct,
        "accuracy": correct / len(rows) if rows else 0.0,
        "ci_low": low,
        "ci_high": high,
        "parse_failures": sum(row["prediction_text"] is None for row in rows),
        "hits_at": hits,
        "all_gold_at": complete,
    }


def _mean_skintern(rows: Sequence[Mapping[str, Any]], shape: ModelShape | None) -> float | None:
    if shape is None or not rows:
        return None
    prompts = [call["prompt_tokens"] for row in rows for call in row["calls"]]
    return sum(skintern_flops(shape, tokens) for tokens in prompts) / len(rows)


def _merged_accuracy(correct_SQ: Floats) -> dict[str, Any]:
    low, high = bootstrap_interval(correct_SQ)
    return {
        "n": correct_SQ.shape[1],
        "accuracy": float(correct_SQ.mean()),
        "ci_low": low,
        "ci_high": high,
    }  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _mean_lists(lists: Sequence[Sequence[float] | None]) -> list[float | None] | None:
    known = [values for values in lists if values is not None]
    if not known or len(known) != len(lists):
        return None
    return [_mean(at_k) for at_k in zip(*known, strict=True)]


def _mean_dicts(dicts: Sequence[Mapping[str, float] | None]) -> dict[str, float | None] | None:
    known = [values for values in dicts if values is not None]
    if not known or len(known) != len(dicts):
        return None
    return {name: _mean([values[name] for values in known]) for name in known[0]}
