"""Words out of tokens, and which of them are kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.compression.base import (
    Compressed,
    Tokenised,
    WordCompressor,
    batches,
    keep,
    padded,
    words_of,
)

FRACTIONS = st.lists(st.floats(0, 1), min_size=1, max_size=6)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(
    st.sampled_from(
        ["Norway", "is", "5,509,733", ".", "(A)", "光合成", "well-known", "\n\n", " ", "हिन्दी", "�"]
    ),
    max_size=40,
).map(" ".join)


class Lengths(WordCompressor):
    """A compressor that prefers long tokens; what it prefers is of no matter here."""

    def scores(self, texts: Sequence[Tokenised]) -> list[list[float]]:
        return [[float(len(str(number))) for number in text.ids] for text in texts]


@pytest.fixture(scope="module", params=["llama", "classifier"])
def compressor(request: pytest.FixtureRequest, llama_folder: Path, classifier_folder: Path) -> Lengths:
    """Over a byte-level tokenizer and over one that normalises and has no token for much of Unicode."""
    return Lengths(str(llama_folder if request.param == "llama" else classifier_folder))


@cache
def tokenizer() -> Any:
    """One token per visible character and run of white space, so that tests see spans without a model."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(r"\s+|\S"), behavior="isolated")


def tokenised(text: str) -> Tokenised:
    spans = [span for _, span in tokenizer().pre_tokenize_str(text)]
    return Tokenised(text=text, ids=[0] * len(spans), words=words_of(text, spans))


def words(text: str) -> list[str]:
    return [word.text for word in tokenised(text).words]


def visible(text: str) -> list[str]:
    return [char for char in text if not char.isspace()]


def is_subsequence(part: Sequence[str], whole: Sequence[str]) -> bool:
    remaining = iter(whole)
    return all(item in remaining for item in part)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plants need light.", ["Plants", " need", " light", "."]),
        ("Earth's well-known sun", ["Earth's", " well-known", " sun"]),
        ("is 5,509,733.", ["is", " 5,509,733", "."]),
        ("at 12:30, (A)", ["at", " 12:30", ",", " (", "A", ")"]),
        ("and/or", ["and", "/", "or"]),
        ("end.\n\n Next  ", ["end", ".", "\n\n Next  "]),
        ("光合成。", ["光", "合", "成", "。"]),
        ("हिन्दी भाषा", ["हिन्दी", " भाषा"]),
        ("e\u0301te\u0301 👩‍👧!", ["e\u0301te\u0301", " 👩‍👧", "!"]),
        ("  ", ["  "]),
        ("", []),
        ("a" * 17, ["a"] * 17),  # no word is that long: an address, a sequence
        ("a" * 16, ["a" * 16]),
    ],
)
def test_words_are_what_a_reader_would_call_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_character_of_several_tokens_is_not_split() -> None:
    # as byte-level tokenizers tell it: two tokens for one character, the first with the space before it
    found = words_of("a 光合", [(0, 1), (1, 3), (2, 3), (3, 4), (3, 4)])
    assert [(word.text, word.first, word.end) for word in found] == [("a", 0, 1), (" 光", 1, 3), ("合", 3, 5)]


@given(text=TEXT)
def test_the_words_are_the_text_and_their_tokens_are_its_tokens(compressor: Lengths, text: str) -> None:
    found = compressor.tokenise(text)
    if found.ids:
        assert "".join(word.text for word in found.words) == text
    assert [at for word in found.words for at in range(word.first, word.end)] == list(range(len(found.ids)))
    assert all(word.end > word.first for word in found.words)


@given(text=TEXT, fractions=FRACTIONS)
def test_what_is_kept_stands_in_order_is_nested_and_meets_the_fraction(
    compressor: Lengths, text: str, fractions: list[float]
) -> None:
    (found,) = compressor.compress([text], fractions)
    assert len(found) == len(fractions)
    before = len(compressor.tokenise(text).ids)
    longest = max((word.end - word.first for word in compressor.tokenise(text).words), default=0)
    for fraction, kept in zip(fractions, found, strict=True):
        assert kept.tokens_before == before
        assert abs(kept.tokens_after - fraction * before) <= longest / 2
        assert is_subsequence(visible(kept.text), visible(text))
    rising = [kept for _, kept in sorted(zip(fractions, found, strict=True), key=lambda pair: pair[0])]
    for smaller, larger in pairwise(rising):
        assert smaller.tokens_after <= larger.tokens_after
        assert is_subsequence(visible(smaller.text), visible(larger.text))


@given(text=TEXT)
def test_fraction_1_is_the_text_untouched_and_0_the_empty_string(compressor: Lengths, text: str) -> None:
    tokens = len(compressor.tokenise(text).ids)
    for fractions in ([1.0, 0.0], [1.0, 0.5, 0.0]):
        (found,) = compressor.compress([text], fractions)
        assert found[0] == Compressed(text=text, tokens_before=tokens, tokens_after=tokens)
        assert found[-1] == Compressed(text="", tokens_before=tokens, tokens_after=0)


def test_each_text_and_fraction_has_its_own_result(compressor: Lengths, hard_texts: list[str]) -> None:
    together = compressor.compress(hard_texts, [1 / 3, 1.0])
    assert together == [compressor.compress([text], [1 / 3, 1.0])[0] for text in hard_texts]
    assert compressor.compress([], [0.5]) == []
    assert compressor.compress(["a"], []) == [[]]


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(compressor: Lengths, wrong: float) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0 to 1"):
        compressor.compress(["a"], [0.5, wrong])


def kept(text: str, scores: Sequence[float], fraction: float) -> str:
    """``scores`` are one per word."""
    found = tokenised(text)
    each = [
        score for score, word in zip(scores, found.words, strict=True) for _ in range(word.first, word.end)
    ]
    return keep(found, each, [fraction])[0].text


def test_the_words_with_the_highest_scores_are_kept_whole_and_in_order() -> None:
    assert kept("one two six ten", [1, 4, 2, 3], 0.5) == "two ten"


def test_of_equal_words_the_first_is_kept() -> None:
    assert kept("one two six ten", [1, 1, 1, 1], 0.5) == "one two"


def test_a_word_is_worth_the_mean_of_its_tokens() -> None:
    found = tokenised("ab c")
    tokens = [9.0, 0.0, 5.0, 5.0]  # "a", "b", " ", "c"
    assert keep(found, tokens, [0.5])[0].text == "c"


@pytest.mark.parametrize(
    ("text", "scores", "expected"),
    [
        ("it grows. Then", [2, 1, 2, 2], "it. Then"),  # a mark stays at the word before it
        ('say "hello" now', [2, 1, 2, 1, 2], "say hello now"),  # two words are not glued together
        ("and/or so on", [2, 1, 2, 2, 1], "and or so"),
        ("光合成だ", [2, 1, 2, 2], "光成だ"),  # and no space comes where the script has none
        ("one\n\ntwo six", [2, 2, 1], "one\n\ntwo"),  # a paragraph stays one while its first word does
    ],
)
def test_the_text_that_is_left_reads_like_text(text: str, scores: list[int], expected: str) -> None:
    found = tokenised(text)
    high = sum(word.end - word.first for word, score in zip(found.words, scores, strict=True) if score > 1)
    assert kept(text, scores, high / len(found.ids)) == expected


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 120))
def test_a_batch_holds_at_most_its_tokens_and_every_row_stands_in_one(
    lengths: list[int], tokens: int
) -> None:
    found = list(batches(lengths, tokens))
    assert sorted(at for group in found for at in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or max(lengths[at] for at in group) * len(group) <= tokens for group in found)


def test_rows_are_padded_on_the_right_and_the_padding_is_masked() -> None:
    found = padded([[5, 6, 7], [8]], "cpu")
    assert found["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
