"""Where a rationale's reasoning ends and its conclusion begins."""

from __future__ import annotations

import re

from kard_ray.teacher.focus import sentences

_CONCLUSION = re.compile(r"\bso,? the answer is\b", re.IGNORECASE)
# A last sentence such as "Therefore, option (D) is the correct answer.", or "Answer: D".
_NAMES_ANSWER = re.compile(
    r"\b(?:correct|right|best|final) (?:answer|option|choice)\b|\banswer(?: is|:| would be| must be)",
    re.IGNORECASE,
)


def reasoning(rationale: str) -> str:
    """``rationale`` up to its "So the answer is", and without last sentences that name an answer in other words."""
    closings = [match.start() for match in _CONCLUSION.finditer(rationale)]
    parts = sentences(rationale[: closings[0] if closings else None].strip())
    while parts and _NAMES_ANSWER.search(parts[-1]):
        parts.pop()
    return " ".join(parts)


def closing_sentence(rationale: str) -> str:
    """``rationale`` from its first "So the answer is" on; empty when it has none."""
    match = _CONCLUSION.search(rationale)
    return rationale[match.start() :].strip() if match else ""
