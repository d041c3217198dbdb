"""BIG-Bench Hard: 27 tasks of reasoning (Suzgun et al., arXiv 2210.09261), one JSON file each, or Parquet on the hub.

A file holds ``examples`` of ``input`` and ``target``, or rows of these. An input that ends in a list of options becomes
a question with options, as do the tasks whose answers are always the same two words; the others are open. As in
SKIntern (table 4), a fifth of each task, 1,304 questions of all 27, is the test split. Dev is made from the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.bbh_examples import EXAMPLES
from kard_ray.benchmarks.files import MistakeError, json_of, parsed, parsed_rows, shown, text_field
from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.benchmarks.rendering import LETTERS
from kard_ray.benchmarks.sources import Source, SourceConfig
from kard_ray.benchmarks.splits import hashed_share, in_split, with_ids
from kard_ray.runtime.errors import UserError

BbhTask = Literal[
    "boolean_expressions",
    "causal_judgement",
    "date_understanding",
    "disambiguation_qa",
    "dyck_languages",
    "formal_fallacies",
    "geometric_shapes",
    "hyperbaton",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "movie_recommendation",
    "multistep_arithmetic_two",
    "navigate",
    "object_counting",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
    "snarks",
    "sports_understanding",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
    "web_of_lies",
    "word_sorting",
]
TASKS: tuple[BbhTask, ...] = get_args(BbhTask)

# Tasks that list no options, but whose target is one of two words.
_TWO_WORDS: dict[str, tuple[str, str]] = {
    "boolean_expressions": ("True", "False"),
    "sports_understanding": ("yes", "no"),
    "web_of_lies": ("Yes", "No"),
}
_TEST_SHARE = 0.2  # of each task, rounded up (SKIntern, table 4)
_LISTED = re.compile(r"\(([A-Z])\) ?(.*\S)|- (.*\S)")


class BbhConfig(SourceConfig):
    """A folder with one <task>.json per task as published, or a data set of the hub with one folder per task."""

    HUB: ClassVar[str] = "SaylorTwift/bbh"

    kind: Literal["bbh"] = "bbh"
    tasks: tuple[BbhTask, ...] = Field(TASKS, min_length=1)  # which of the 27; each is a kind in the report
    dev_fraction: float = Field(0.1, gt=0, lt=1)  # of what is not test, in each task


class Bbh:
    """Benchmark read from BIG-Bench Hard's files; a question's split follows from its task and its wording."""

    name = "bbh"

    def __init__(self, config: BbhConfig) -> None:
        self._config = config
        self._source = Source(config, "BIG-Bench Hard")

    def fingerprint(self) -> str:
        """The hub's commit, or SHA-256 over the tasks' files, 16 digits. Raises UserError if one is missing."""
        return self._source.fingerprint(self._files)

    def questions(self) -> Iterator[Question]:
        """Task by task in alphabetical order, train, dev, then test. Raises UserError that lists every mistake."""
        for task, paths in self._files().items():
            rows = with_ids((row for path in paths for row in _read(path, task)), f"bbh-{task}")
            test = hashed_share(rows, _TEST_SHARE, f"bbh/test/{task}")
            rest = [row for row in rows if row.question_id not in test]
            dev = hashed_share(rest, self._config.dev_fraction, f"bbh/dev/{task}")
            yield from (row for row in rest if row.question_id not in dev)
            yield from in_split((row for row in rest if row.question_id in dev), "dev")
            yield from in_split((row for row in rows if row.question_id in test), "test")

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Worked examples of the task ``pattern``, none of them from its files."""
        return EXAMPLES[pattern]

    def _files(self) -> dict[str, list[Path]]:
        return self._source.files(
            {
                task: (f"{task}.json", f"bbh/{task}.json", f"{task}/test-*.parquet", f"{task}/test/*.parquet")
                for task in sorted(set(self._config.tasks))
            },
            field="tasks",
        )


def _read(path: Path, task: str) -> list[Question]:
    """The questions of one file, all in the train split for now."""
    parse = partial(_question, task=task)
    if path.suffix == ".parquet":
        return parsed_rows(path, parse)
    content = json_of(path)
    examples = content.get("examples") if isinstance(content, dict) else None
    if not isinstance(examples, list) or not examples:
        raise UserError(
            f"file {path}, field examples: got {shown(examples)}; expected a list of input and target."
        )
    return parsed(path, "example", enumerate(examples, start=1), parse)


def _question(row: Any, _: int, *, task: str) -> Question:
    """A question whose id and split are still to be given."""
    if not isinstance(row, dict):
        raise MistakeError(f"whole example: got {shown(row)}; expected an object with input and target.")
    text, target = text_field(row, "input"), text_field(row, "target")
    text = text.removeprefix("Question: ")  # of web_of_lies; every prompt writes it itself
    unread = Question(question_id="", split="train", question=text, gold=target, kind=task)
    if task in _TWO_WORDS:
        options = _TWO_WORDS[task]
        if target not in options:
            raise MistakeError(f"field target: got {shown(target)}; expected {' or '.join(options)}.")
        return replace(unread, gold="", options=options, answer=options.index(target))
    stem, listed = _options(text)
    # Three published targets are no option of their question, whose options were cut at their commas, and one question
    # has the same option twice: these stay open and as they are written, and their answer is the target.
    if target not in listed or len(set(listed.values())) < len(listed):
        return unread
    return replace(
        unread,
        question=stem,
        gold="",
        options=tuple(listed.values()),
        answer=list(listed).index(target),
    )


def _options(text: str) -> tuple[str, dict[str, str]]:
    """The question without its list of options, and the options' texts by what a target calls them."""
    stem, mark, end = text.rpartition("\nOptions:\n")
    listed: dict[str, str] = {}
    for letter, line in zip(LETTERS, end.split("\n"), strict=False):
        match = _LISTED.fullmatch(line.rstrip())
        if not mark or match is None or (match[1] and match[1] != letter):
            return text, {}
        listed[f"({letter})" if match[1] else match[3]] = match[2] or match[3]
    return stem.strip(), listed
