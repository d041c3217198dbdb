"""Find test questions that stand in passages or in training questions: runs of 13 words that both hold.

As in appendix C of the GPT-3 paper (Brown et al. 2020), texts are compared by their words only, lower-cased. A question
of fewer words is looked for as a whole; one of fewer than 8 words would be found by chance and is left out. So is a run
that many test questions hold: it is the benchmark's wording (an instruction, a table that all questions of a task are
about) and gives none of them away.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from itertools import islice
from typing import Literal

import pyarrow as pa
from pydantic import Field

from kard_ray.benchmarks.question import Question
from kard_ray.runtime.config import Frozen

Kind = Literal["passage", "question"]

OVERLAPS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),  # of the test question
        # What shares words with it: a passage or a training question
        pa.field("kind", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),  # of that
        pa.field("ngram", pa.string(), nullable=False),  # the words they share
    ]
)

_LEAST_WORDS = 8  # of a question that is looked for as a whole
_WORD = re.compile(r"[^\W_]+")
# Chinese and Japanese put no spaces between words: each character is one.
_IDEOGRAPH = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_WORD_OR_IDEOGRAPH = re.compile(rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+")


class ContaminationConfig(Frozen):
    """What counts as an overlap with a test question, and what becomes of it."""

    ngram: int = Field(13, ge=3)  # words in a row that both texts hold
    # A run that more test questions hold is not looked for, so that rows grow with texts and not with pairs of them.
    # Null: every run is; 280 questions of six BIG-Bench Hard tasks then have 183,651 overlaps, with 10 they have 6,374
    common: int | None = Field(10, ge=1)
    drop: bool = False  # leave overlapping passages and training questions out; False: only report them


def words(text: str) -> list[str]:
    """Runs of letters and digits, in compatibility form (NFKC) and case-folded."""
    if text.isascii():
        return _WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _WORD_OR_IDEOGRAPH.findall(folded)


def question_text(question: Question) -> str:
    """What of a question is compared: its text, then its options."""
    return "\n".join([question.question, *question.options])


class Overlaps:
    """The test questions' runs of words, to look for in other texts.

    ``too_short`` holds the ids of the questions that are left out, ``common_alone`` of those whose every run is common.
    """

    def __init__(self, questions: Mapping[str, str], config: ContaminationConfig) -> None:
        self.too_short: list[str] = []
        self._grams: dict[tuple[str, ...], list[str]] = {}  # to the ids of the questions that hold it
        self._opening = min(_LEAST_WORDS, config.ngram)  # no run is shorter
        for question_id, text in questions.items():
            found = words(text)
            length = min(config.ngram, len(found))
            if length < self._opening:
                self.too_short.append(question_id)
                continue
            for gram in dict.fromkeys(_runs(found, length)):
                self._grams.setdefault(gram, []).append(question_id)
        if config.common is not None:
            self._grams = {gram: ids for gram, ids in self._grams.items() if len(ids) <= config.common}
        looked_for = {question_id for ids in self._grams.values() for question_id in ids}.union(
            self.too_short
        )
        self.common_alone = [question_id for question_id in questions if question_id not in looked_for]
        # Opening words to the lengths of the runs they open
        self._lengths: dict[tuple[str, ...], set[int]] = {}
        for gram in self._grams:
            self._lengths.setdefault(gram[: self._opening], set()).add(len(gram))

    def find(self, text: str) -> list[tuple[str, str]]:
        """(question id, words joined by spaces) of each overlap of ``text``, each once, in the text's order.

        Linear in the text's length: one look-up per word where nothing is shared.
        """
        found = words(text)
        pairs: dict[tuple[str, str], None] = {}
        for at, opening in enumerate(_runs(found, self._opening)):
            if opening in self._lengths:
                for length in sorted(self._lengths[opening]):
                    gram = tuple(found[at : at + length])
                    shared = " ".join(gram)
                    pairs |= dict.fromkeys((question_id, shared) for question_id in self._grams.get(gram, ()))
        return list(pairs)


def overlaps_of_batch(
    batch: pa.Table, overlaps: Overlaps, kind: Kind, *, id_column: str = "id", text_column: str = "text"
) -> pa.Table:
    """The overlaps of a batch's texts, one row each, of schema OVERLAPS; empty when nothing is shared."""
    rows = [
        {"question_id": question_id, "kind": kind, "id": row_id, "ngram": gram}
        for row_id, text in zip(batch[id_column].to_pylist(), batch[text_column].to_pylist(), strict=True)
        for question_id, gram in overlaps.find(text)
    ]
    return pa.Table.from_pylist(rows, schema=OVERLAPS)


def _runs(found: list[str], length: int) -> zip[tuple[str, ...]]:
    """All runs of ``length`` words, from left to right."""
    return zip(*(islice(found, skipped, None) for skipped in range(length)), strict=False)
