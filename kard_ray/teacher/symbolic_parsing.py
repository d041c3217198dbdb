"""Symbolic knowledge read from what the teacher wrote: two labelled sections, or the reason why not (SKIntern, 3.1).

Strict, because a student would be trained on whatever slips through: a section that is half there, copied from the
prompt, or tells the answer is worth less than a retry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, model_validator

from kard_ray.runtime.config import Frozen

SUMMARY, SUPPLEMENT = "Learning summary", "Supplementary knowledge"

# What the prompt shows in place of the sections; a text that begins so repeats the prompt.
PLACEHOLDERS = ("<how questions of this kind are solved>", "<what one has to know for them>")

# The parts of the prompt's turns. A line that begins with one of them belongs to a further question.
TURN_LABELS = ("Question", "Options", "Answer", "Explanation", "Notes")


class SectionLimits(Frozen):
    """How long each of the two sections may be."""

    min_words: int = Field(5, ge=1)  # fewer say nothing
    max_words: int = Field(300, ge=1)  # the teacher was asked for a few sentences; more is rambling

    @model_validator(mode="after")
    def _ordered(self) -> SectionLimits:
        if self.max_words < self.min_words:
            raise ValueError(
                f"max_words: got {self.max_words}, expected at least min_words, which is {self.min_words}"
            )
        return self


DEFAULT_LIMITS = SectionLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class SymbolicKnowledge:
    """What a teacher notes for questions of a kind; neither text begins or ends in white space."""

    summary: str  # k^m: steps of thought, precautions, experience
    supplement: str  # k^p: definitions, formulas, facts about the world


@dataclass(frozen=True, slots=True)
class Malformed:
    """A text that is no symbolic knowledge."""

    reason: str


def render(knowledge: SymbolicKnowledge) -> str:
    """The two labelled sections; :func:`parse` gives ``knowledge`` back."""
    return f"{SUMMARY}: {knowledge.summary}\n{SUPPLEMENT}: {knowledge.supplement}"


def parse(
    text: str,
    *,
    finish_reason: str | None = "stop",
    limits: SectionLimits = DEFAULT_LIMITS,
    shown: Sequence[SymbolicKnowledge] = (),
) -> SymbolicKnowledge | Malformed:
    """The sections of ``text``, or why it is malformed.

    Each label begins a line exactly once, in order; Markdown emphasis, a heading or a number around it are no fault.
    Nothing stands before the first label: to tell a harmless preamble from an attempt that was given up would be a
    guess. ``finish_reason`` is the engine's ("length": cut off); ``shown`` is what the prompt's examples held.
    """
    if finish_reason == "length":
        return Malformed("cut off by the token limit")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    places = []
    for label, pattern in _LABELS.items():
        found = list(pattern.finditer(text))
        if len(found) != 1:
            return Malformed(
                f"{label!r} begins {len(found) or 'no'} line{'s' if found else ''}, expected one"
            )
        places.append(found[0])
    first, second = places
    if second.start() < first.start():
        return Malformed(f"{SUPPLEMENT!r} stands before {SUMMARY!r}")
    if text[: first.start()].strip():
        return Malformed(f"text stands before {SUMMARY!r}")
    knowledge = SymbolicKnowledge(
        summary=text[first.end() : second.start()].strip(), supplement=text[second.end() :].strip()
    )
    sections = ((SUMMARY, knowledge.summary), (SUPPLEMENT, knowledge.supplement))
    for label, section in sections:
        if because := _fault(section, limits):
            return Malformed(f"{label!r} {because}")
    if _plain(knowledge.summary) == _plain(knowledge.supplement):
        return Malformed("both sections are the same text")
    copied = {_plain(section) for example in shown for section in (example.summary, example.supplement)}
    for label, section in sections:
        if _plain(section) in copied:
            return Malformed(f"{label!r} is copied from an example of the prompt")
    return knowledge


def _fault(section: str, limits: SectionLimits) -> str | None:
    """What is wrong with one section by itself."""
    words = len(section.split())
    if not words:
        return "is empty"
    if any(_plain(section).startswith(_plain(placeholder)) for placeholder in PLACEHOLDERS):
        return "repeats the prompt's description of the form"
    if not limits.min_words <= words <= limits.max_words:
        return f"has {words} words, expected {limits.min_words} to {limits.max_words}"
    if match := _TURN.search(section):
        return f"goes on with {match[0].strip()!r}, which belongs to a further question"
    if match := _CONCLUSION.search(section):
        return f"tells the answer: {match[0]!r}"
    return None


def _label(label: str) -> re.Pattern[str]:
    """``label`` at the start of a line, with a colon or alone on the line; emphasis is closed as it was opened."""
    words = r"[ \t]+".join(map(re.escape, label.split()))
    opened = r"(?P<around>[*_]{0,3})(?:\d[.)][ \t]*)?(?P<within>[*_]{0,3})"
    closed = r"(?P=within)(?P=around)"
    return re.compile(
        rf"^[ \t]*(?:\#{{1,6}}[ \t]+)?{opened}{words}(?::{closed}|{closed}[ \t]*:|{closed}[ \t]*$)",
        re.IGNORECASE | re.MULTILINE,
    )


_LABELS = {label: _label(label) for label in (SUMMARY, SUPPLEMENT)}
_TURN = re.compile(rf"^[ \t]*[#*_ \t]*(?:{'|'.join(TURN_LABELS)})[*_]*:", re.IGNORECASE | re.MULTILINE)
# "So the answer is ..." closes every rationale. A general "check that the answer is a whole number" tells nothing.
_CONCLUSION = re.compile(
    r"\b(?:(?:so|thus|hence|therefore)\b,?\s+the\s+(?:\w+\s+)?|the\s+(?:correct|right|final|gold)\s+)"
    r"(?:answer|option|choice)\s+(?:is|was|must be|would be)\b"
    r"|\banswer\s+is:?\s*\(?[A-Z]\)",  # an option's letter
    re.IGNORECASE,
)


def _plain(text: str) -> str:
    """Words only, in lower case: marks, case and spaces make no other text."""
    return " ".join(re.findall(r"\w+", text.lower()))
