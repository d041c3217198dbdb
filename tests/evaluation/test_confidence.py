from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from kard_ray.evaluation.confidence import written_confidence


class Words:
    """A tokenizer whose tokens are places in a list of words; an empty word is a special token."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def decode(self, ids: Sequence[int], **_: bool) -> str:
        return "".join(self.words[i] for i in ids)


def confidence(*words: str, text: str | None = None, before: str = "") -> list[str]:
    """The words whose probabilities are multiplied: each token has its own prime number as log probability."""
    primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29][: len(words)]
    tokenizer = Words(*words)
    tokens = list(range(len(words)))
    found = written_confidence(
        tokenizer.decode(tokens) if text is None else text,
        tokens,
        [math.log(p) for p in primes],
        tokenizer,
        before=before,
    )
    assert found is not None
    return [word for word, prime in zip(words, primes, strict=True) if round(found) % prime == 0]


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        (("So the", " answer", " is", " Lis", "bon", ".", ""), [" Lis", "bon", "."]),
        (("Is it 9? So the", " answer is", " 9", ".", "\n", "Question"), [" 9", "."]),
        (("The answer is 4. So the answer is", " 5", "."), [" 5", "."]),
        # One token ends the mark and begins the answer
        (("So the answer", " is yes", "."), [" is yes", "."]),
        (("I", " do", " not", " know"), ["I", " do", " not", " know"]),  # no mark: all tokens
        (("So the answer is",), ["So the answer is"]),
    ],
)
def test_the_tokens_behind_the_last_answer_is_count(words: tuple[str, ...], counted: list[str]) -> None:
    assert confidence(*words) == counted


def test_words_that_the_prompt_held_already_are_the_mark() -> None:
    assert confidence(" Lis", "bon", ".", "\n", "More", before="So the answer is") == [" Lis", "bon", "."]


def test_what_a_stop_string_cut_off_does_not_count() -> None:
    words = ("So the answer is", " a", ".", "\nQues", "tion: The answer is", " b")
    assert confidence(*words, text="So the answer is a.") == [" a", "."]


def test_a_decoder_that_drops_the_first_space_moves_nothing() -> None:
    words = ("So", " the answer is", " a", ".")
    assert confidence(*words, text=" So the answer is a.") == [" a", "."]


def test_without_log_probabilities_nothing_is_known() -> None:
    assert written_confidence("So the answer is a.", [0], [], Words("So the answer is a.")) is None


@pytest.fixture(scope="module")
def tokenizer(llama_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(llama_folder)


@given(reasoned=st.text(max_size=30), answer=st.from_regex(r"[a-zé5→]{1,8}", fullmatch=True))
def test_only_what_the_answer_is_written_with_changes_the_confidence(
    tokenizer: Any, reasoned: str, answer: str
) -> None:
    before = reasoned.replace("\n", " ").replace("\r", " ") + " So the answer is "
    text = f"{before}{answer}."
    ids = tokenizer(text, add_special_tokens=False).input_ids
    written = [len(tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
    behind = sum(length > len(before) for length in written)
    halves = [0.0] * (len(ids) - behind) + [math.log(0.5)] * behind
    assert written_confidence(text, ids, halves, tokenizer) == pytest.approx(0.5**behind)
    assert written_confidence(text, ids, [math.log(0.5) - p for p in halves], tokenizer) == pytest.approx(1.0)
