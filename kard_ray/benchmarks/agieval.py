"""AGIEval's English tasks: examinations for people (Zhong et al., arXiv 2304.06364), one JSON Lines file each.

Rows hold ``passage`` (or null), ``question``, ``options`` that begin with their letter ("(A)..."), ``label``, and for
``math``, which has no options, ``answer``, a formula in LaTeX. It is a test of what was learnt elsewhere: all its
questions are test questions unless a dev split is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from kard_ray.benchmarks.agieval_examples import EXAMPLES
from kard_ray.benchmarks.files import MistakeError, encodable, key_among, parsed_rows, shown, text_field
from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.benchmarks.rendering import LETTERS
from kard_ray.benchmarks.sources import Source, SourceConfig
from kard_ray.benchmarks.splits import grouped_share, in_split, with_ids, wording

AgiEvalTask = Literal[
    "aqua-rat",
    "logiqa-en",
    "lsat-ar",
    "lsat-lr",
    "lsat-rc",
    "sat-en",
    "sat-en-without-passage",
    "sat-math",
    "gaokao-english",
    "math",
]
# The tasks whose 2,546 questions SKIntern tests on (table 4): all in English with options but gaokao-english.
SKINTERN_TASKS: tuple[AgiEvalTask, ...] = get_args(AgiEvalTask)[:8]

# Options begin with their letter, most as "(A)Lisbon", some as "A Lisbon" or "A? Lisbon".
_LETTERED = re.compile(r"\(([A-Z])\)\s*|([A-Z])[).:?]?\s+")


class AgiEvalConfig(SourceConfig):
    """A folder with one <task>.jsonl per task as published (data/v1), or a data set of the hub that holds them."""

    HUB: ClassVar[str] = "lighteval/agi_eval_en"  # without gaokao-english

    kind: Literal["agieval"] = "agieval"
    tasks: tuple[AgiEvalTask, ...] = Field(SKINTERN_TASKS, min_length=1)  # each is a kind in the report
    dev_fraction: float = Field(0.0, ge=0, lt=1)  # of each task; questions on one passage go together


class AgiEval:
    """Benchmark read from AGIEval's files."""

    name = "agieval"

    def __init__(self, config: AgiEvalConfig) -> None:
        self._config = config
        self._source = Source(config, "AGIEval")

    def fingerprint(self) -> str:
        """The hub's commit, or SHA-256 over the tasks' files, 16 digits. Raises UserError if one is missing."""
        return self._source.fingerprint(self._files)

    def questions(self) -> Iterator[Question]:
        """Task by task in alphabetical order, dev, then test. Raises UserError that lists every mistake."""
        for task, paths in self._files().items():
            found = [pair for path in paths for pair in parsed_rows(path, partial(_question, task=task))]
            rows = with_ids((row for row, _ in found), f"agieval-{task}")
            groups = {row.question_id: about for row, (_, about) in zip(rows, found, strict=True)}
            dev = grouped_share(groups, self._config.dev_fraction, f"agieval/dev/{task}")
            yield from in_split((row for row in rows if row.question_id in dev), "dev")
            yield from (row for row in rows if row.question_id not in dev)

    def examples(self, pattern: str) -> Sequence[WorkedExample]:
        """Worked examples in the style of the task ``pattern``, none of them from its files."""
        return EXAMPLES[pattern]

    def _files(self) -> dict[str, list[Path]]:
        return self._source.files(
            {task: _names(task) for task in sorted(set(self._config.tasks))}, field="tasks"
        )


def _names(task: str) -> list[str]:
    # sat-en-without-passage is sat-en without its passages; where it has no file, sat-en's serves.
    names = [task, "sat-en"] if task == "sat-en-without-passage" else [task]
    return [f"{place}{name}.jsonl" for name in names for place in ("", "data/", "data/v1/", "data/v1_1/")]


def _question(row: dict[str, Any], _: int, *, task: str) -> tuple[Question, str]:
    """A question whose id is still to be given, and what it is about: its passage, or itself."""
    text = text_field(row, "question")
    about = text_field(row, "passage") if row.get("passage") else wording(text)
    if row.get("passage") and task != "sat-en-without-passage":
        text = f"{about}\n{text}"
    unread = Question(question_id="", split="test", question=text, kind=task)
    if task == "math":
        return replace(unread, gold=text_field(row, "answer")), about
    options = _options(row.get("options"))
    answer = key_among(LETTERS[: len(options)], row, "label")
    return replace(unread, options=options, answer=answer), about


def _options(listed: object) -> tuple[str, ...]:
    """The options' texts without their letters; where all stand in one text, it is parted at them."""
    if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], str):
        listed = [part.strip() for part in re.split(r"(?=\([B-Z]\))", listed[0])]
    if not isinstance(listed, list) or len(listed) < 2 or not all(isinstance(one, str) for one in listed):
        raise MistakeError(f"field options: got {shown(listed)}; expected at least two texts.")
    texts = []
    for text, letter in zip(listed, LETTERS, strict=False):
        begins = _LETTERED.match(text.strip())
        named = begins is not None and letter in begins.groups()
        texts.append(text.strip()[begins.end() :].strip() if begins and named else text.strip())
    if not all(texts):
        raise MistakeError(f"field options: got {shown(listed)}; expected texts behind the letters.")
    return tuple(encodable(text, "options") for text in texts)
