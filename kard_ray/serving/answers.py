"""The response's objects, put together from what the parts returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kard_ray.serving.parts import Written
from kard_ray.serving.routing import StudentCard
from kard_ray.serving.schemas import Answer, Milliseconds, Passage, Sample, Tokens


def passage_of(row: dict[str, Any]) -> Passage:
    """A found passage as the response shows it; its id or source is a link if it is an address."""
    links = [str(row.get(name, "")) for name in ("passage_id", "source_id", "source")]
    link = next((link for link in links if link.startswith(("https://", "http://"))), None)
    return Passage(
        passage_id=row["passage_id"],
        title=row["title"],
        text=row["text"],
        score=float(row["score"]),
        source=row.get("source") or "",
        link=link,
    )


def in_milliseconds(seconds: dict[str, float]) -> Milliseconds:
    """Rounded to microseconds."""
    return Milliseconds(**{name: round(value * 1000, 3) for name, value in seconds.items()})


def put_together(
    identity: str,
    written: Written,
    passages: Sequence[Passage],
    times: dict[str, float],
    card: StudentCard,
    knowledge_version: str,
) -> Answer:
    """The response's object."""
    several = len(written.samples) > 1
    return Answer(
        id=identity,
        answer=written.answer,
        option=written.option,
        rationale=written.rationale,
        confidence=written.confidence,
        samples=[Sample(text=s.text, answer=s.answer, option=s.option) for s in written.samples]
        if several
        else [],
        passages=list(passages[: written.shown]),
        milliseconds=in_milliseconds(times),
        tokens=Tokens(prompt=written.prompt_tokens, generated=written.generated_tokens),
        model=card.name,
        model_version=written.version,
        knowledge_version=knowledge_version,
    )
