"""What a teacher is asked and what it answers; every backend speaks in these two."""

from __future__ import annotations

from dataclasses import dataclass

Message = dict[str, str]  # keys "role" and "content", as of a chat


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One question's prompt, and which of its samples are still wanted."""

    question_id: str
    samples: tuple[int, ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One sample: a text, or the reason why there is none.

    Tokens are those that were billed. Of a call with several samples the first carries the whole prompt, and of a
    sample that took several attempts the tokens of all: the sum over all replies is what was paid.
    """

    question_id: str
    sample: int
    text: str
    prompt_tokens: int
    generated_tokens: int
    finish_reason: str  # "stop", "length", ...; empty when the backend did not tell
    error: str  # empty for a good reply, else one sentence

    def __post_init__(self) -> None:
        if self.text and self.error:
            raise ValueError("A reply holds a text or an error, never both.")
