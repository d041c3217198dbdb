"""Cut a document in passages: whole sentences, at most so many tokens of the embedder, with some overlap.

Sentences are found by rules in one pass. None of the packages this project installs splits sentences with
offsets, and a passage needs no linguist's precision: a missed bound makes a sentence longer, a false one lets a
passage end after an abbreviation, and the overlap mends most of both.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


class ChunkingConfig(Frozen):
    """How long a passage is, and how much of it the next one repeats."""

    # Longest passage, in tokens of the embedder, special ones not counted
    tokens: int = Field(200, ge=16, le=8192)
    overlap_tokens: int = Field(40, ge=0)  # at most so many tokens of a passage open the next one too

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> Self:
        if 2 * self.overlap_tokens >= self.tokens:
            raise ValueError(
                f"field overlap_tokens: got {self.overlap_tokens}, expected less than half of tokens ({self.tokens})"
            )
        return self


class Span(NamedTuple):
    """Part of a text, in characters; ``end`` is the first one after it."""

    start: int
    end: int


# No line holds a quantifier that can be tried again from the middle of its own run: all patterns are linear.
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]")  # Markdown
_ITEM = re.compile(r"[ \t]*+(?:[-*+•][ \t]|\d{1,3}[.)][ \t]|\|)")  # of a list, or a table's row
_LINE = re.compile(r"[^\r\n]+")
_WORD = re.compile(r"\S+")
# A full stop, what closes a quotation, and the space behind it; CJK, Arabic and Indic stops need no space.
_STOP = re.compile(
    r"(?:(?P<stop>[.!?…]++)|(?P<sure>[。！？｡؟۔।॥]++))(?P<close>[\"'”’»)\]*_」』）】》]*+)(?P<space>\s*+)"
)
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘«—–]*\Z")
_LOOK_BACK = 24  # characters: longer words are no abbreviations
_NEVER_LAST = frozenset(
    """adm al approx brig ca capt cdr cf cmdr col cpl dr eg esp fr gen gov hon ie incl lt maj messrs mlle mme mr mrs
    ms mt mx prof rep rev sen sgt st viz vs""".split()  # noqa: SIM905
)
_BEFORE_NUMBERS = frozenset(
    """apr art aug c ch chap dec eq feb fig figs jan jul jun mar no nos nov nr oct p para pp sec sep sept
    vol""".split()  # noqa: SIM905
)
_MAYBE_LAST = frozenset("ave bros co corp dept est etc inc jr ltd ph.d sr univ".split())  # noqa: SIM905
_OPENERS = frozenset(  # words that behind an abbreviation tell of a new sentence
    """a after all although an and as at because before both but by during each for from he her his how however i if
    in it its many most no of on one our she since so some such that the their then there these they this those to
    under until we what when where which while who why with you your""".split()  # noqa: SIM905
)


def passage_id(source_id: str, start: int, end: int) -> str:
    """128 bits of SHA-256 as hex: the same document and span have the same id in every build."""
    return hashlib.sha256(json.dumps([source_id, start, end]).encode()).hexdigest()[:32]


class Chunker:
    """Cuts texts with the tokenizer of the folder ``tokenizer`` (it holds ``tokenizer.json``).

    The tokenizer is loaded at the first text; UserError if its file is not there or cannot be read.
    """

    def __init__(self, tokenizer: str | Path, config: ChunkingConfig) -> None:
        self._path = Path(tokenizer) / "tokenizer.json"
        self._config = config
        self._loaded: Tokenizer | None = None

    def spans(self, text: str) -> list[Span]:
        """The passages of one text, as :func:`cut`."""
        return self.spans_of([text])[0]

    def spans_of(self, texts: Sequence[str]) -> list[list[Span]]:
        """The passages of each text; texts are tokenised together, which is faster for short ones."""
        found: Iterable[Encoding] = self._tokenizer().encode_batch(list(texts), add_special_tokens=False)
        return [cut(text, it.offsets, self._config) for text, it in zip(texts, found, strict=True)]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_loaded": None}  # a worker reads its own from the file

    def _tokenizer(self) -> Tokenizer:
        if self._loaded is None:
            from tokenizers import Tokenizer

            if not self._path.is_file():
                raise UserError(
                    f"file {self._path} is not there; expected the embedder's fast tokenizer, by whose tokens "
                    "documents are cut."
                )
            try:
                self._loaded = Tokenizer.from_file(str(self._path))
            except Exception as error:
                raise UserError(
                    f"file {self._path}: not a fast tokenizer that this version of tokenizers reads ({error})."
                ) from error
            self._loaded.no_truncation()
            self._loaded.no_padding()
        return self._loaded


def cut(text: str, token_starts: Sequence[tuple[int, int]], config: ChunkingConfig) -> list[Span]:
    """Spans of at most ``config.tokens`` tokens that together hold every character of ``text`` but white space.

    ``token_starts`` are the (start, end) characters of each token of the whole text. Sentences are packed while
    they fit; a span opens with the last whole sentences of the one before, as many as fit in
    ``config.overlap_tokens``. A sentence that is longer than a span is packed line by line, a longer line word by
    word, a longer word token by token. Blank lines, headings and list items end a sentence; a Markdown heading is
    never parted from the sentence behind it if both fit in one span. Starts and ends ascend; linear time.

    A token counts for a span if it shares a character with it. The text of a span tokenised alone may differ by a
    token or so with tokenizers that mark a text's beginning. Only a single character of more tokens than
    ``config.tokens`` makes a longer span.
    """
    tokens = _Tokens(token_starts)
    units = list(_sentences(text))
    for finer in (_lines, _words, tokens.bounds):
        units = list(_refined(text, units, finer, tokens, config.tokens))
    return _packed(_with_headings(units, tokens, config.tokens), tokens, config)


class _Unit(NamedTuple):
    """What is never cut: a sentence, or a piece of one that is too long."""

    start: int
    end: int
    heading: bool = False


class _Tokens:
    """Where tokens begin and end; both ascend (a token out of order counts more, never less)."""

    def __init__(self, offsets: Sequence[tuple[int, int]]) -> None:
        pairs = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        self.starts = np.minimum.accumulate(pairs[::-1, 0])[::-1]
        self.ends = np.maximum.accumulate(pairs[:, 1])

    def ranges(self, units: Sequence[_Unit]) -> tuple[list[int], list[int]]:
        """First token of each unit, and the one after its last; units from i to j hold last[j] - first[i] tokens."""
        first = np.searchsorted(self.ends, [unit.start for unit in units], "right")
        last = np.searchsorted(self.starts, [unit.end for unit in units], "left")
        return first.tolist(), np.maximum(first, last).tolist()

    def bounds(self, _: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The pieces from token start to token start between two characters."""
        inside = self.starts[np.searchsorted(self.starts, start, "right") : np.searchsorted(self.starts, end)]
        cuts = [start, *np.unique(inside).tolist(), end]
        return pairwise(cuts)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (m.span() for m in _LINE.finditer(text, start, end))


def _words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (m.span() for m in _WORD.finditer(text, start, end))


def _refined(
    text: str,
    units: Sequence[_Unit],
    finer: Callable[[str, int, int], Iterator[tuple[int, int]]],
    tokens: _Tokens,
    longest: int,
) -> Iterator[_Unit]:
    """``units`` with each one of more than ``longest`` tokens replaced by its ``finer`` pieces."""
    for unit, first, last in zip(units, *tokens.ranges(units), strict=True):
        if last - first <= longest:
            yield unit
        else:
            for start, end in finer(text, unit.start, unit.end):
                yield from _trimmed(text, start, end)


def _with_headings(units: Sequence[_Unit], tokens: _Tokens, longest: int) -> list[_Unit]:
    """``units`` with headings joined to what follows, nearest first, while it fits."""
    first, last = tokens.ranges(units)
    found: list[_Unit] = []
    final = 0  # the token after the unit that was kept last
    for at in range(len(units) - 1, -1, -1):
        if found and units[at].heading and final - first[at] <= longest:
            found[-1] = _Unit(units[at].start, found[-1].end)
        else:
            found.append(units[at])
            final = last[at]
    return found[::-1]


def _packed(units: Sequence[_Unit], tokens: _Tokens, config: ChunkingConfig) -> list[Span]:
    first, last = tokens.ranges(units)
    spans: list[Span] = []
    begin = at = 0  # units of the open span: from begin to at, the latter not included
    while at < len(units):
        at += 1  # one unit always goes in, so that the next span says something new
        while at < len(units) and last[at] - first[begin] <= config.tokens:
            at += 1
        spans.append(Span(units[begin].start, units[at - 1].end))
        if at < len(units):
            least = max(last[at - 1] - config.overlap_tokens, last[at] - config.tokens)
            begin = bisect_left(first, least, lo=begin + 1, hi=at)
    return spans


def _sentences(text: str) -> Iterator[_Unit]:
    """The sentences of ``text`` without the white space around them, in order."""
    for start, end, heading in _blocks(text):
        begin = start
        if not heading:
            for m in _STOP.finditer(text, start, end):
                if m.end() < end and (m["sure"] or (m["space"] and _ends_sentence(text, start, m))):
                    yield from _trimmed(text, begin, m.end())
                    begin = m.end()
        yield from _trimmed(text, begin, end, heading=heading)


def _blocks(text: str) -> Iterator[_Unit]:
    """Headings, list items, table rows, and what stands between blank lines."""
    begin = at = 0
    for line in text.splitlines(keepends=True):
        blank, heading = line.isspace(), bool(_HEADING.match(line))
        if (blank or heading or _ITEM.match(line)) and begin < at:
            yield _Unit(begin, at)
            begin = at
        at += len(line)
        if blank or heading:
            if heading:
                yield _Unit(begin, at, heading=True)
            begin = at
    if begin < at:
        yield _Unit(begin, at)


def _trimmed(text: str, start: int, end: int, *, heading: bool = False) -> Iterator[_Unit]:
    """The part without white space around it, or nothing."""
    part = text[start:end]
    bare = part.strip()
    if bare:
        begin = start + len(part) - len(part.lstrip())
        yield _Unit(begin, begin + len(bare), heading)


def _ends_sentence(text: str, start: int, m: re.Match[str]) -> bool:
    """Whether the stop ``m``, with white space behind it, ends a sentence of the block that begins at ``start``."""
    following = text[m.end()]
    if following.islower():
        return False
    if m["stop"] != "." or m["close"]:
        return True
    word = _LAST_WORD.findall(text, max(start, m.start() - _LOOK_BACK), m.start())[0]
    low = word.lower()
    if low in _BEFORE_NUMBERS and following.isdecimal():
        return False
    if word.isdecimal() and not text[start : m.start()].removesuffix(word).strip():
        return False  # a list's number
    if low.replace(".", "") in _NEVER_LAST:
        return False
    dotted = "." in word and all(len(part) == 1 for part in word.split("."))  # U.S, a.m
    if dotted or (len(word) == 1 and word.isalpha() and word.isupper()) or low in _MAYBE_LAST:
        opener = _WORD.match(text, m.end())
        return opener is not None and opener[0].strip("\"'“‘(,").lower() in _OPENERS
    return True
