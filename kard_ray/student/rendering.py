"""The student's input: one renderer for training and inference, recorded with the student and read back.

Order: passages, question, options, then the place where the student writes. A prompt that is too long loses passage
text, the least relevant passage first, never the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from kard_ray.benchmarks.rendering import AnswerForm, passages_block, question_block
from kard_ray.runtime.config import Frozen


class RenderingConfig(Frozen):
    """How a student's prompt is written."""

    template: Literal["plain", "chat"] = "plain"  # chat: the tokenizer's chat template around the same text
    instruction: str = ""  # first line of every prompt; empty: none
    max_prompt_tokens: int = Field(512, ge=16)  # longer prompts lose passage text, never the question
    max_passage_words: int = Field(160, ge=1)  # of each passage's text


class Renderer:
    """Token ids of prompts and targets for one tokenizer."""

    def __init__(self, tokenizer: Any, config: RenderingConfig, form: AnswerForm) -> None:
        self.tokenizer, self.config, self.form = tokenizer, config, form
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no EOS token, so the student could not learn to stop")

    def prompt_text(self, question: str, options: Sequence[str], passages: Sequence[tuple[str, str]]) -> str:
        """The text before what the student writes, without the chat template."""
        parts = [self.config.instruction] if self.config.instruction else []
        if passages:
            parts.append(passages_block("Knowledge", self._short(passages)))
        parts.append(question_block(question, options, self.form))
        return "\n".join(parts)

    def prompt_ids(
        self, question: str, options: Sequence[str], passages: Sequence[tuple[str, str]]
    ) -> list[int]:
        """Prompt token ids, at most ``max_prompt_tokens`` unless the question alone is longer."""
        shown = self._short(passages)
        ids = self._encode(self.prompt_text(question, options, shown))
        while shown and len(ids) > self.config.max_prompt_tokens:
            surplus = len(ids) - self.config.max_prompt_tokens
            title, text = shown.pop()
            # One word has at least one token, so cutting `surplus` words never cuts too little by much.
            words = text.split()
            if len(words) > surplus:
                shown.append((title, " ".join(words[:-surplus])))
            ids = self._encode(self.prompt_text(question, options, shown))
        return ids

    def target_ids(self, target: str) -> list[int]:
        """Target token ids with exactly one EOS at the end."""
        lead = "" if self.config.template == "chat" else " "
        ids = list(self.tokenizer(lead + target.strip(), add_special_tokens=False).input_ids)
        eos = self.tokenizer.eos_token_id
        return [*(token for token in ids if token != eos), eos]

    def _short(self, passages: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        limit = self.config.max_passage_words
        return [(title, " ".join(text.split()[:limit])) for title, text in passages]

    def _encode(self, text: str) -> list[int]:
        """Ids with at most one BOS: the chat template writes its own, the plain form takes the tokenizer's."""
        if self.config.template == "chat":
            messages = [{"role": "user", "content": text}]
            templated = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
            return list(self.tokenizer(templated, add_special_tokens=False).input_ids)
        ids = list(self.tokenizer(text + "\nExplanation:").input_ids)
        # Encoder tokenizers (T5) close the source with EOS; a decoder-only prompt must stay open.
        if ids and ids[-1] == self.tokenizer.eos_token_id and not self._is_encoder_decoder:
            ids.pop()
        return ids

    @property
    def _is_encoder_decoder(self) -> bool:
        return "T5" in type(self.tokenizer).__name__
