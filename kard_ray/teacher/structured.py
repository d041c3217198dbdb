"""Rationales as JSON: the engine or endpoint enforces the form, and the usual text is made from it."""

from __future__ import annotations

import json
from typing import Any

FIELDS = ("rationale", "answer")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}

INSTRUCTION = (
    "Explain step by step why the given answer is right, in one to four short sentences. "
    "Use only facts that are given. "
    'Write one JSON object with the fields "rationale", the explanation, and "answer", the answer as it is given.'
)


def as_json(rationale: str, answer: str) -> str:
    """What a worked example shows the teacher."""
    return json.dumps({"rationale": rationale, "answer": answer}, ensure_ascii=False)


def as_text(written: str) -> str | None:
    """The rationale with its closing sentence, as other teachers write it; None when it is no such JSON."""
    try:
        tree = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict) or not all(isinstance(tree.get(name), str) for name in FIELDS):
        return None
    rationale, answer = (" ".join(tree[name].split()) for name in FIELDS)
    return f"{rationale} So the answer is {answer.rstrip('.')}." if rationale and answer else None
