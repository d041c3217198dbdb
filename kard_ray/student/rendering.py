"""The student's input: one renderer for training and inference, recorded with the student and read back.

Order: instruction, the teacher's notes, few-shot examples, passages, question, options, then the cue that asks for what
the student writes (SKIntern's order, with KARD's passages). A prompt that is too long loses its farthest examples,
then text of the notes, then passage text, the least relevant passage first, never the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Literal

from pydantic import Field

from kard_ray.benchmarks.rendering import AnswerForm, passages_block, question_block
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.special_tokens import neutralised, token_ids_of_text
from kard_ray.student.help import Help, Shot

DEFAULT_CUE = "Explanation:"  # what a prompt ends with (KARD); a method of two tasks has one for each

_HELP = "Notes of your teacher that help with this question"
_SUMMARY, _SUPPLEMENT = "Learning summary", "Supplementary knowledge"  # SKIntern's k^m and k^p

# A cut prompt aims at 95 % of the tokens it may have, and is good from 90 % on.
_AIM, _ENOUGH = 0.95, 0.9
_LONGEST_WORD = 20  # characters; a longer one, or text without spaces, may be cut inside


class RenderingConfig(Frozen):
    """How a student's prompt is written."""

    template: Literal["plain", "chat"] = "plain"  # chat: the tokenizer's chat template around the same text
    instruction: str = ""  # first line of every prompt; empty: none
    max_prompt_tokens: int = Field(512, ge=16)  # longer ones are cut, never in the question
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

    def prompt_text(
        self,
        question: str,
        options: Sequence[str],
        passages: Sequence[tuple[str, str]],
        *,
        notes: Sequence[tuple[str, str]] = (),
        shots: Sequence[Shot] = (),
    ) -> str:
        """The text before the cue, without the chat template; ``notes`` are what is shown of the teacher's help.

        ``shots`` stand nearest first; in the prompt the nearest is the last one, beside the question.
        """
        parts = [self.config.instruction] if self.config.instruction else []
        if notes:
            parts.append(passages_block(_HELP, notes))
        for shot in reversed(shots):
            asked = self._asked(shot.question, shot.options, shot.passages)
            parts.append(f"{asked}\n{shot.written.strip()}\n")
        parts.append(self._asked(question, options, passages))
        return "\n".join(parts)

    def _asked(self, question: str, options: Sequence[str], passages: Sequence[tuple[str, str]]) -> str:
        block = question_block(question, options, self.form)
        return f"{passages_block('Knowledge', self._short(passages))}\n{block}" if passages else block

    def prompt_ids(
        self,
        question: str,
        options: Sequence[str],
        passages: Sequence[tuple[str, str]],
        cue: str = DEFAULT_CUE,
        *,
        help: Help | None = None,  # noqa: A002 - the word of the papers and of the table
        shots: Sequence[Shot] = (),
    ) -> list[int]:
        """Prompt token ids, at most ``max_prompt_tokens`` unless the question and its cue alone are longer.

        The cue stands last. In the chat template a cue that ends in a colon is the last line of the user's turn (the
        default one is left out, since the model's turn is cue enough); any other one, such as "So the answer is", is
        the beginning of what the model says, in its own turn.
        """
        shown = self._short(passages)
        notes = [(label, text) for label, text in _labelled(help) if text]

        def write(
            shots: Sequence[Shot], notes: Sequence[tuple[str, str]], shown: Sequence[tuple[str, str]]
        ) -> str:
            return self.prompt_text(question, options, shown, notes=notes, shots=shots)

        ids = self._encode(write(shots, notes, shown), cue)
        if shots and not self._fits(ids):
            ids = self._with_fewer(shots, lambda kept: write(kept, notes, shown), cue)
        if notes and not self._fits(ids):
            ids = self._cut(notes, lambda kept: write((), kept, shown), cue, len(ids))
        if shown and not self._fits(ids):
            ids = self._cut(shown, lambda kept: write((), (), kept), cue, len(ids))
        return ids

    def _fits(self, ids: Sequence[int]) -> bool:
        return len(ids) <= self.config.max_prompt_tokens

    def _with_fewer(
        self, shots: Sequence[Shot], write: Callable[[Sequence[Shot]], str], cue: str
    ) -> list[int]:
        """Ids of the prompt with the most of ``shots`` that fit, not all of them; with none when none fits."""
        best = self._encode(write(()), cue)
        low, high = 0, len(shots)  # `low` of them fit, if any number does, and `high` do not
        while self._fits(best) and high - low > 1:
            middle = (low + high) // 2
            ids = self._encode(write(shots[:middle]), cue)
            if self._fits(ids):
                best, low = ids, middle
            else:
                high = middle
        return best

    def _cut(
        self,
        texts: Sequence[tuple[str, str]],
        write: Callable[[Sequence[tuple[str, str]]], str],
        cue: str,
        tokens: int,
    ) -> list[int]:
        """Ids of the prompt with as much of ``texts`` as fits; with all of it, it has ``tokens``.

        Looks for the number of characters to keep, first at the ends of texts, then in the text to be cut: where the
        tokens per character seen so far put it, and every third time in the middle. Without any text that fits it is
        the prompt without ``texts``.
        """
        limit = self.config.max_prompt_tokens
        ends = list(accumulate(len(text) + 1 for _, text in texts))  # as in _first
        # `low` characters fit and `high` ones do not; how much the rest takes is a guess until `best` is there.
        low, high = 0, ends[-1]
        low_tokens, high_tokens = tokens * len(write([])) // len(write(texts)), tokens
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
            ids = self._encode(write(_first(texts, at)), cue)
            if self._fits(ids):
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
            begun = opening(cue)
            text = text if begun or cue == DEFAULT_CUE else f"{text}\n{cue}"
            messages = [{"role": "user", "content": neutralised(self.tokenizer, text)}]
            templated = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            ) + neutralised(self.tokenizer, begun)
            return list(self.tokenizer(templated, add_special_tokens=False).input_ids)
        ids = token_ids_of_text(self.tokenizer, f"{text}\n{cue}")
        # An encoder's source is closed with EOS (T5); a decoder-only prompt must stay open.
        if ids and ids[-1] == self.tokenizer.eos_token_id and not self.encoder_decoder:
            ids.pop()
        return ids


def opening(cue: str) -> str:
    """The words of the model's own reply that ``cue`` already holds; a heading, which ends in a colon, has none.

    What is written behind "So the answer is" is read together with it.
    """
    return "" if cue.endswith(":") else cue


def _labelled(help: Help | None) -> list[tuple[str, str]]:  # noqa: A002 - as in prompt_ids
    return [(_SUMMARY, help.summary.strip()), (_SUPPLEMENT, help.supplement.strip())] if help else []


def next_cue(cues: Sequence[str], written: Sequence[str]) -> str:
    r"""What the next pass is asked with: the cues of the passes before with what was written for each, then its own.

    ``next_cue(("Rationale:", "Answer:"), ["It is."])`` is ``"Rationale: It is.\nAnswer:"``. Raises IndexError when
    every cue has been asked.
    """
    passes = [f"{cue} {text.strip()}".rstrip() for cue, text in zip(cues, written, strict=False)]
    return "\n".join([*passes, cues[len(written)]])


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
