"""The form of AI2's multiple-choice benchmarks (ARC, OpenBookQA), as published and as on the hub.

Published rows hold ``id``, ``question`` with ``stem`` and ``choices`` of ``text`` and ``label``, and ``answerKey``; the
hub's hold the stem beside ``choices``, which are two lists. Labels are letters, or digits from 1.
"""

from __future__ import annotations

from typing import Any

from kard_ray.benchmarks.files import MistakeError, key_among, shown, text_field
from kard_ray.benchmarks.question import Question


def ai2_question(row: dict[str, Any], kind: str) -> Question:
    """The question of a row, in the train split for now."""
    asked = row.get("question")
    if isinstance(asked, dict):
        stem, listed, where = text_field(asked, "stem"), asked.get("choices"), "question.choices"
    elif "choices" in row:
        stem_field = "question_stem" if "question_stem" in row else "question"
        stem, listed, where = text_field(row, stem_field), row["choices"], "choices"
    else:
        raise MistakeError(f"field question: got {shown(asked)}; expected an object with stem and choices.")
    options, labels = _choices(listed, where)
    return Question(
        question_id=f"{kind}-{text_field(row, 'id')}",
        split="train",
        question=stem,
        options=options,
        answer=key_among(labels, row, "answerKey"),
        kind=kind,
    )


def _choices(listed: object, name: str) -> tuple[tuple[str, ...], list[str]]:
    """Texts and labels of the choices: objects with text and label, or one object with a list of each."""
    if isinstance(listed, dict) and isinstance(listed.get("text"), list):
        labels = listed.get("label")
        pairs = zip(listed["text"], labels if isinstance(labels, list) else [], strict=False)
        listed = [{"text": text, "label": label} for text, label in pairs]
    if not isinstance(listed, list) or len(listed) < 2 or not all(isinstance(c, dict) for c in listed):
        raise MistakeError(
            f"field {name}: got {shown(listed)}; expected at least two objects with text and label."
        )
    return tuple(text_field(c, "text") for c in listed), [text_field(c, "label") for c in listed]
