"""The student's input: one renderer for training and inference, recorded with the student and read back.

Order: passages, question, options, then the cue that asks for what the student writes. A prompt that is too long loses
passage text, the least relevant passage first, never the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

from pydantic import Field

from kard_ray.benchmarks.rendering import AnswerForm, passages_block, question_block
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.special_tokens import neutralised, token_ids_of_text

DEFAULT_CUE = "Explanation:"  # what a prompt ends with (KARD); a method of two tasks has one for each

# A cut prompt aims at 95 % of the tokens it may have, and is good from 90 % on.
_AIM, _ENOUGH = 0.95, 0.9
_LONGEST_WORD = 20  # characters; a longer one, or text without spaces, may be cut inside


class RenderingConfig(Frozen):
    """How a student's prompt is written."""

    template: Literal["plain", "chat"] = "plain"  # chat: the tokenizer's chat template around the same text
    instruction: str = ""  # first line of every prompt; empty: none
    max_prompt_tokens: int = Field(512, ge=16)  # longer prompts lose passage text, never the question
    max_passage_words: int = Field(160, ge=1)  # of each passage's text


class Renderer:
    """Token ids of prompts and targets for one tokenizer; ``encoder_decoder``: of a model such as T5."""

    def __init__(
        self, tokenizer: Any, config: RenderingConfig, form: AnswerForm, *, encoder_decoder: bool = False
    ) -> None:
        self.tokenizer, self.config, self.form = tokenizer, config, form
        self.encoder_decoder = encoder_decoder
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no EOS token, so the student could not learn to stop")

    def prompt_text(self, question: str, options: Sequence[str], passages: Sequence[tuple[str, str]]) -> str:
        """The text before the cue, without the chat template."""
        parts = [self.config.instruction] if self.config.instruction else []
        if passages:
            parts.append(passages_block("Knowledge", self._short(passages)))
        parts.append(question_block(question, options, self.form))
        return "\n".join(parts)

    def prompt_ids(
        self,
        question: str,
        options: Sequence[str],
        passages: Sequence[tuple[str, str]],
        cue: str = DEFAULT_CUE,
    ) -> list[int]:
        """Prompt token ids, at most ``max_prompt_tokens`` unless the question alone is longer.

        The cue stands last, in the chat template as the last line of the user's turn; there the default one is left
        out, since the model's turn is cue enough.
        """
        shown = self._short(passages)
        ids = self._encode(self.prompt_text(question, options, shown), cue)
        if not shown or len(ids) <= self.config.max_prompt_tokens:
            return ids
        return self._cut(question, options, shown, cue, len(ids))

    def _cut(
        self, question: str, options: Sequence[str], shown: Sequence[tuple[str, str]], cue: str, tokens: int
    ) -> list[int]:
        """Ids of the prompt with as much of ``shown`` as fits; with all of it, it has ``tokens``.

        Looks for the number of characters to keep, first at the ends of passages, then in the passage to be cut:
        where the tokens per character seen so far put it, and every third time in the middle.
        """
        limit = self.config.max_prompt_tokens
        ends = list(accumulate(len(text) + 1 for _, text in shown))  # as in _first
        # `low` characters fit and `high` ones do not; how much the question takes is a guess until `best` is there.
        low, high = 0, ends[-1]
        alone, whole = (self.prompt_text(question, options, passages) for passages in ([], shown))
        low_tokens, high_tokens = tokens * len(alone) // len(whole), tokens
        best: list[int] | None = None
        turn = 0
        while True:
            between = [end for end in ends if low < end < high]
            if best is not None and not between and (len(best) >= _ENOUGH * limit or high - low <= 1):
                return best
            share = (_AIM * limit - low_tokens) / max(1, high_tokens - low_tokens)
            at = low + round((0.5 if turn % 3 == 2 else share) * (high - low))
            at = min(max(at, low + 1), high - 1)
            if between:
                at = max((end for end in between if end <= at), default=between[0])
            if best is None and (turn > 0 or share <= 0):
                at = 0
            ids = self._encode(self.prompt_text(question, options, _first(shown, at)), cue)
            if len(ids) <= limit:
                low, low_tokens, best = at, len(ids), ids
            elif at == 0:
                return ids
            else:
                high, high_tokens = at, len(ids)
            turn += 1

    def target_ids(self, target: str) -> list[int]:
        """Target token ids with exactly one EOS at the end."""
        lead = "" if self.config.template == "chat" else " "
        ids = list(self.tokenizer(lead + target.strip(), add_special_tokens=False).input_ids)
        eos = self.tokenizer.eos_token_id
        return [*(token for token in ids if token != eos), eos]

    def _short(self, passages: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        limit = self.config.max_passage_words
        return [(title, " ".join(text.split()[:limit])) for title, text in passages]

    def _encode(self, text: str, cue: str) -> list[int]:
        """Ids with at most one BOS: the chat template writes its own, the plain form takes the tokenizer's."""
        if self.config.template == "chat":
            text = text if cue == DEFAULT_CUE else f"{text}\n{cue}"
            messages = [{"role": "user", "content": neutralised(self.tokenizer, text)}]
            templated = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
            return list(self.tokenizer(templated, add_special_tokens=False).input_ids)
        ids = token_ids_of_text(self.tokenizer, f"{text}\n{cue}")
        # An encoder's source is closed with EOS (T5); a decoder-only prompt must stay open.
        if ids and ids[-1] == self.tokenizer.eos_token_id and not self.encoder_decoder:
            ids.pop()
        return ids


def _first(passages: Sequence[tuple[str, str]], characters: int) -> list[tuple[str, str]]:
    """The first ``characters`` of ``passages``, each counted one longer than its text; no title without its text."""
    kept = []
    for title, text in passages:
        part = _whole_words(text, characters - 1)
        if characters > 0 and (part or not text):
            kept.append((title, part))
        characters -= len(text) + 1
    return kept


def _whole_words(text: str, characters: int) -> str:
    """At most ``characters`` of ``text``, cut between two words where there is such a place nearby."""
    characters = max(0, characters)
    if characters >= len(text):
        return text
    space = max(0, text.rfind(" ", 0, characters + 1))
    return text[: space if characters - space < _LONGEST_WORD else characters]
