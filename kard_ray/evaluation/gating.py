"""Ask the knowledge base only when unsure: what ``kard_intern`` gains in accuracy and what it costs.

The student answers alone first. If its answer's probability (``confidence`` in PREDICTIONS) is below a threshold, the
question is searched for and answered again with passages; both answers are paid for then. All of this is computed from
the two sets of predictions, every question answered both ways, so that a whole curve costs one prediction run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kard_ray.evaluation.flops import question_cost
from kard_ray.evaluation.model_shape import ModelShape
from kard_ray.evaluation.search_cost import NOTHING, SearchCost

ALWAYS = 2.0  # a threshold above every probability: every question is asked
SOURCE = "gated"


@dataclass(frozen=True, kw_only=True, slots=True)
class GatePoint:
    """One threshold: a question whose own answer is less probable is answered with passages.

    ``asked`` and ``accuracy`` are shares of all questions; ``flops_per_question`` is the mean of all costs, None when
    the architecture is not counted.
    """

    threshold: float
    asked: float
    accuracy: float
    flops_per_question: float | None

    def as_dict(self) -> dict[str, float | None]:
        """The four fields, as results.json has them."""
        return asdict(self)


def gating_curve(
    alone: pa.Table,
    asking: pa.Table,
    *,
    shape: ModelShape | None,
    searching: SearchCost = NOTHING,
    points: int = 101,
) -> list[GatePoint]:
    """The trade-off over thresholds, from never asking (0) to :data:`ALWAYS`; at most ``points``, spread evenly.

    ``alone`` and ``asking`` are PREDICTIONS of the same questions, without and with passages. An unknown confidence
    asks at every threshold. ``searching`` is paid by questions that are asked. Raises ValueError if the questions
    differ or there are none.
    """
    pairs = _pairs(alone, asking)
    confidence = np.array([_confidence(own) for own, _ in pairs])
    order = np.argsort(confidence, kind="stable")
    gain = np.array([int(other["correct"]) - int(own["correct"]) for own, other in pairs])[order]
    own_right = sum(int(own["correct"]) for own, _ in pairs)
    # Position i: the i questions that the student is least sure of are asked.
    right = own_right + np.concatenate([[0], np.cumsum(gain)])
    flops = None
    if shape is not None:
        first = sum(question_cost(shape, own["calls"]).total for own, _ in pairs)
        second = np.array(
            [
                question_cost(
                    shape, other["calls"], retriever=searching.retriever, reranker=searching.reranker
                ).total
                for _, other in pairs
            ]
        )
        flops = first + np.concatenate([[0.0], np.cumsum(second[order])])
    thresholds = np.concatenate([[0.0], np.unique(confidence[confidence > 0]), [ALWAYS]])
    chosen = np.unique(np.linspace(0, len(thresholds) - 1, min(points, len(thresholds))).round().astype(int))
    curve = []
    for threshold in thresholds[chosen]:
        asked = int(np.searchsorted(confidence[order], threshold, side="left"))
        curve.append(
            GatePoint(
                threshold=float(threshold),
                asked=asked / len(pairs),
                accuracy=float(right[asked]) / len(pairs),
                flops_per_question=None if flops is None else float(flops[asked]) / len(pairs),
            )
        )
    return curve


def choose_threshold(curve: Sequence[GatePoint], *, tolerance: float = 0.0) -> GatePoint:
    """The point that asks least among those whose accuracy is within ``tolerance`` of the curve's best.

    Give it the curve of the dev split and use its threshold on the test split: chosen on the questions that it is
    measured on, the best of a hundred thresholds flatters itself.
    """
    best = max(point.accuracy for point in curve)
    return min(
        (point for point in curve if point.accuracy >= best - tolerance - 1e-12),
        key=lambda point: (point.asked, point.threshold),
    )


def gated(alone: pa.Table, asking: pa.Table, threshold: float) -> pa.Table:
    """PREDICTIONS of the gated student, source ``gated``: a row per question, in the order of ``alone``.

    An asked question has the answer with passages and the calls, tokens and seconds of both answers; the others have
    their own answer and no passages. Raises ValueError if the questions differ or there are none.
    """
    rows = [
        (_both(own, other) if _confidence(own) < threshold else own)
        | {"prediction_id": f"{SOURCE}/{own['question_id']}", "source": SOURCE}
        for own, other in _pairs(alone, asking)
    ]
    return pa.Table.from_pylist(rows, schema=alone.schema)


def _confidence(row: Mapping[str, Any]) -> float:
    """The own answer's probability; below every threshold when it is not known."""
    return -1.0 if row["confidence"] is None else float(row["confidence"])


def _both(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    known = own["seconds"] is not None and other["seconds"] is not None
    return dict(other) | {
        "calls": [*own["calls"], *other["calls"]],
        "prompt_tokens": own["prompt_tokens"] + other["prompt_tokens"],
        "generated_tokens": own["generated_tokens"] + other["generated_tokens"],
        "seconds": own["seconds"] + other["seconds"] if known else None,
    }


def _pairs(alone: pa.Table, asking: pa.Table) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    own, other = ({row["question_id"]: row for row in table.to_pylist()} for table in (alone, asking))
    if not own or own.keys() != other.keys() or len(own) != alone.num_rows or len(other) != asking.num_rows:
        raise ValueError(
            f"gating needs one answer alone and one with passages for each question; got {alone.num_rows} and "
            f"{asking.num_rows} rows of {len(own.keys() & other.keys())} questions answered both ways"
        )
    return [(row, other[question]) for question, row in own.items()]
