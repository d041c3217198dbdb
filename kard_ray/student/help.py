"""What a prompt may hold to help the student, beside the question and its passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Help:
    """The teacher's symbolic knowledge of one rationale, as much of it as one stage shows (SKIntern's k_i^t)."""

    summary: str = ""  # general steps and precautions, k^m
    supplement: str = ""  # definitions and facts, k^p


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """A few-shot example: another question with what is to be written for it."""

    question: str
    options: tuple[str, ...]
    written: str  # below the question, the cue it follows included
    passages: Sequence[tuple[str, str]] = ()  # its own, as (title, text)
