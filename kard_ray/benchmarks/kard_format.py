"""KARD's published form of its three benchmarks (arXiv 2305.18395), which MedQA's data set on the hub has too.

A row has the fields ``id``, ``sent1`` (the question), ``ending0`` ... (the options, empty ones at the end are none) and
``label`` (the index of the right one).
"""

from __future__ import annotations

from typing import Any

from kard_ray.benchmarks.files import MistakeError, encodable, shown, text_field
from kard_ray.benchmarks.question import Question


def in_kard_format(row: dict[str, Any]) -> bool:
    """Whether a row is in this form rather than the benchmark's own."""
    return "sent1" in row


def kard_question(row: dict[str, Any], kind: str) -> Question:
    """The question of a row, in the train split for now."""
    given_id, question = text_field(row, "id"), text_field(row, "sent1")
    endings = [row[name] for name in (f"ending{index}" for index in range(10)) if name in row]
    if not all(isinstance(ending, str) for ending in endings):
        raise MistakeError(f"field ending0 ...: got {shown(endings)}; expected texts.")
    options = [encodable(ending.strip(), "ending0 ...") for ending in endings]
    while options and not options[-1]:
        options.pop()
    if len(options) < 2 or not all(options):
        raise MistakeError(
            f"field ending0 ...: got {shown(endings)}; expected at least two options, empty ones only at the end."
        )
    label = row.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(options):
        raise MistakeError(
            f"field label: got {shown(label)}; expected an index from 0 to {len(options) - 1}."
        )
    return Question(
        question_id=f"{kind}-{given_id}",
        split="train",
        question=question,
        options=tuple(options),
        answer=label,
        kind=kind,
    )
