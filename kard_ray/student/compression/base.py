"""What a compressor does, and what all of them share: whole words are kept, best first, to a budget of tokens.

A compressor gives each token a score. Tokens are joined to words, because half a word ("ynthesis") tells a
student nothing and costs as much as it did; a word is worth the mean of its tokens' scores, its value per token
spent. Words are ranked once per text, and a fraction keeps the first of that ranking: so what a smaller fraction
keeps, a larger one keeps too. The number of words is the one whose tokens come closest to the asked fraction.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from kard_ray.runtime.errors import UserError

_LONGEST = 16  # tokens; a longer run of letters (an address, a sequence) is no word and may lose its inside
_JOINING_LETTERS = "'’-‐"  # between two letters or digits: Earth's, well-known
_JOINING_DIGITS = ".,:/"  # between two digits: 5,509.7
_CONTINUING = ("Mn", "Mc", "Me", "Cf")  # categories of characters that belong to the one before them
_ZERO_WIDTH_JOINER = "\u200d"
# Scripts that put no space between words: Thai and Lao, Burmese, Khmer, kana, Han. Each token is a word there.
_NO_SPACES = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF),
              (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """One text at one fraction; tokens are those of the compressor's tokenizer, counted in the whole text."""

    text: str
    tokens_before: int
    tokens_after: int


class Compressor(Protocol):
    """Shortens texts by leaving tokens out."""

    def compress(self, texts: Sequence[str], fractions: Sequence[float]) -> list[list[Compressed]]:
        """For each text one :class:`Compressed` per fraction, in their order.

        Fraction 1 is the text untouched, 0 the empty string. Raises ValueError if a fraction is not from 0 to 1.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """Tokens ``first`` to ``end`` (exclusive) and their text, with the white space before it."""

    first: int
    end: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenised:
    """A text as ids, without special tokens, and the words they make."""

    text: str
    ids: list[int]
    words: list[Word]


class WordCompressor(ABC):
    """A compressor that needs only a score per token; the larger, the longer a token is kept."""

    def __init__(self, model_path: str) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
        if not self.tokenizer.is_fast:
            raise UserError(
                f"model {model_path!r}: its tokenizer does not tell where in the text a token stands (it is not "
                "a fast one); name a compression model that has a tokenizer.json."
            )

    @abstractmethod
    def scores(self, texts: Sequence[Tokenised]) -> list[list[float]]:
        """For each text one score per token of it."""

    def compress(self, texts: Sequence[str], fractions: Sequence[float]) -> list[list[Compressed]]:
        """See :class:`Compressor`."""
        if wrong := [fraction for fraction in fractions if not 0.0 <= fraction <= 1.0]:
            raise ValueError(f"got fractions {wrong}, expected numbers from 0 to 1")
        tokenised = [self.tokenise(text) for text in texts]
        if all(fraction in (0.0, 1.0) for fraction in fractions):  # nothing to choose
            scores = [[0.0] * len(text.ids) for text in tokenised]
        else:
            scores = self.scores(tokenised)
        return [keep(text, found, fractions) for text, found in zip(tokenised, scores, strict=True)]

    def tokenise(self, text: str) -> Tokenised:
        """``text`` in ids and words; the text of a special token in it is text."""
        encoded = self.tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,  # the model sees windows: a long text is no mistake
        )
        return Tokenised(
            text=text, ids=list(encoded.input_ids), words=words_of(text, list(encoded.offset_mapping))
        )


def keep(text: Tokenised, scores: Sequence[float], fractions: Sequence[float]) -> list[Compressed]:
    """The words of ``text`` with the highest mean of ``scores``, in their order, for each fraction.

    The tokens kept come as close to the fraction as whole words can; of equal words the first is kept longer.
    """
    values = [sum(scores[word.first : word.end]) / (word.end - word.first) for word in text.words]
    ranking = sorted(range(len(values)), key=lambda at: (-values[at], at))
    tokens = [0, *accumulate(text.words[at].end - text.words[at].first for at in ranking)]
    result = []
    for fraction in fractions:
        count = len(ranking) if fraction == 1.0 else _nearest(tokens, fraction * tokens[-1])
        if fraction == 1.0 or (fraction > 0.0 and 0 < count == len(ranking)):
            kept = text.text
        else:
            kept = _joined(text.words, sorted(ranking[:count]))
        result.append(Compressed(text=kept, tokens_before=tokens[-1], tokens_after=tokens[count]))
    return result


def _nearest(rising: Sequence[int], target: float) -> int:
    """Where in ``rising``, which starts with 0, the number closest to ``target`` stands; of two the lower."""
    at = bisect_right(rising, target) - 1
    above = at + 1 < len(rising) and rising[at + 1] - target < target - rising[at]
    return at + above


def _joined(words: Sequence[Word], kept: Sequence[int]) -> str:
    """The texts of ``kept``; a space parts two words that only something left out between them kept apart."""
    text = ""
    before = -1
    for at in kept:
        piece = words[at].text
        if text and at != before + 1 and _spaced(text[-1:]) and _spaced(piece[:1]):
            text += " "
        text, before = text + piece, at
    return text.strip()


def _spaced(char: str) -> bool:
    return char.isalnum() and not _without_spaces(char)


def words_of(text: str, spans: Sequence[tuple[int, int]]) -> list[Word]:
    """Tokens at the character positions ``spans`` as words; the words' texts, one after the other, are ``text``.

    Punctuation marks are words of their own. A character is never split, whatever bytes its tokens stand for.
    """
    groups: list[list[int]] = []
    reached = 0  # end of the characters that tokens so far cover
    only_space = False  # whether the last group has no visible character yet
    for token, (start, end) in enumerate(spans):
        visible = next((at for at in range(start, end) if not text[at].isspace()), end)
        blank = visible == end
        begins = blank or (visible >= reached and _begins(text, visible))
        if not groups or (begins and not only_space):
            groups.append([])
            only_space = True
        groups[-1].append(token)
        only_space = only_space and blank
        reached = max(reached, end)
    if only_space and len(groups) > 1:  # at the very end
        groups[-2:] = [groups[-2] + groups[-1]]
    return list(_with_texts(text, spans, _cut(groups, spans)))


def _cut(groups: Sequence[list[int]], spans: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """The groups, those of more than _LONGEST tokens in pieces of whole characters."""
    for group in groups:
        if len(group) <= _LONGEST:
            yield group
            continue
        pieces: list[list[int]] = []
        reached = -1
        for token in group:
            start, end = spans[token]
            if start >= reached:
                pieces.append([])
            pieces[-1].append(token)
            reached = max(reached, end)
        yield from pieces


def _with_texts(text: str, spans: Sequence[tuple[int, int]], groups: Iterator[list[int]]) -> Iterator[Word]:
    start = 0
    for group in groups:
        ends = [start, *(spans[token][1] for token in group)]
        end = len(text) if group[-1] == len(spans) - 1 else max(ends)
        yield Word(first=group[0], end=group[-1] + 1, text=text[start:end])
        start = end


def _begins(text: str, at: int) -> bool:
    """Whether a word may begin with the visible character ``text[at]``."""
    char, before = text[at], text[at - 1 : at]
    if unicodedata.category(char) in _CONTINUING or before == _ZERO_WIDTH_JOINER:
        return False
    if not char.isalnum():
        return not _joins(text, at)
    if _without_spaces(char):
        return True
    inside = before.isalnum() or (before != "" and unicodedata.category(before) in _CONTINUING)
    return not inside and not _joins(text, at - 1)


def _joins(text: str, at: int) -> bool:
    """Whether ``text[at]`` stands inside a word: the apostrophe of "Earth's", the comma of "5,509"."""
    if not 0 < at < len(text) - 1:
        return False
    before, char, after = text[at - 1], text[at], text[at + 1]
    if char in _JOINING_DIGITS:
        return before.isdigit() and after.isdigit()
    return char in _JOINING_LETTERS and before.isalnum() and after.isalnum()


def _without_spaces(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _NO_SPACES)


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Positions in ``lengths``, longest first, in groups that, padded to the longest, hold at most ``tokens``.

    A single length above ``tokens`` is a group of its own.
    """
    order = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def padded(rows: Sequence[Sequence[int]], device: str) -> dict[str, Any]:
    """``input_ids`` and ``attention_mask``, ``[len(rows), longest]`` int64, padded on the right."""
    import torch

    width = max(map(len, rows))
    # The mask hides the padding, so that any id will do; not every tokenizer has one for it.
    ids = [[*row, *[0] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return {
        "input_ids": torch.tensor(ids, device=device),
        "attention_mask": torch.tensor(mask, device=device),
    }


def device_for(cpus: int) -> str:
    """``cuda`` when this process sees a GPU, else ``cpu`` with ``cpus`` threads."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    torch.set_num_threads(cpus)  # Ray tells its workers to use one
    return "cpu"
