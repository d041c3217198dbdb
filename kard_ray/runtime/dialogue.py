"""What one row asks of a model, request after request; which engine answers is none of its business.

A row may need one text, several samples of it, a second text that builds on the first, or the probability of given
words behind what was written, or passages that are searched for with what it wrote. All of that is one generator per
row, so one engine serves every way of asking, and the requests of many rows are in the engine at once::

    def ask(row):
        (first,) = yield [Write(prompt_ids=row["prompt_ids"])]
        (second,) = yield [Write(prompt_ids=follow_up(row, first.text))]
        return {"id": row["id"], "text": second.text}
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

ADAPTER = "adapter"  # column of a row: the folder of its LoRA adapter; empty: the model as it is


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """Asks for text behind ``prompt_ids``."""

    prompt_ids: Sequence[int]
    stop: tuple[str, ...] = ()  # ends the text too, beside the stop strings of the sampling
    seed: int | None = None  # of the draw; only where tokens are drawn
    greedy: bool = False  # the most probable tokens, also where others are drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Asks how probable ``scored`` is behind the prompt and ``begun``, the beginning of the text (may be empty)."""

    prompt_ids: Sequence[int]
    begun: Sequence[int]
    scored: Sequence[int]  # at least one token

    def __post_init__(self) -> None:
        if not self.scored:
            raise ValueError("a Score needs at least one token to score")


@dataclass(frozen=True, kw_only=True, slots=True)
class Find:
    """Asks for the ``k`` best passages for ``query``; it is answered beside the model, many rows' queries at once."""

    query: str
    how: Any  # which of its searches, as :meth:`Ask.find` understands it
    k: int


Request = Write | Score | Find


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back for one request."""

    text: str = ""
    tokens: Sequence[int] = ()  # that were written, or were scored
    log_probs: Sequence[
        float
    ] = ()  # of ``tokens``, in nats, before temperature; empty when they were not asked for
    seconds: float = 0.0  # from the request to the last token, waiting in the engine included
    found: Any = None  # what a Find found


# Yields requests, is sent their replies in the same order, returns the finished row.
Dialogue = Generator[Sequence[Request], Sequence[Reply], dict[str, Any]]


class Ask(Protocol):
    """How rows are asked; made inside the actor that holds the model."""

    def __call__(self, row: Mapping[str, Any]) -> Dialogue:
        """The dialogue of ``row``."""
        ...

    def failed(self, row: Mapping[str, Any], error: str) -> dict[str, Any]:
        """The finished row when the engine refused one of its requests."""
        ...

    def find(self, requests: Sequence[Find]) -> Future[list[Any]]:
        """Begin to search, in another thread or process; the future holds what was found for each request.

        Only those whose dialogues yield a Find are asked.
        """
        ...


def in_step(
    rows: Sequence[Mapping[str, Any]], ask: Ask, answer: Callable[[Sequence[Request]], Sequence[Reply]]
) -> list[dict[str, Any]]:
    """The finished ``rows``, when ``answer`` takes many requests at once: each round holds every row's next ones."""
    finished: dict[int, dict[str, Any]] = {}
    open_ = {at: ask(row) for at, row in enumerate(rows)}
    replies: dict[int, Sequence[Reply]] = {}
    while open_:
        asked: dict[int, Sequence[Request]] = {}
        for at, dialogue in list(open_.items()):
            try:
                asked[at] = dialogue.send(replies[at]) if at in replies else next(dialogue)
            except StopIteration as end:
                finished[at] = end.value
                del open_[at]
        flat = iter(answer([request for requests in asked.values() for request in requests]))
        replies = {at: [next(flat) for _ in requests] for at, requests in asked.items()}
    return [finished[at] for at in range(len(rows))]
