"""Further rounds of retrieval: what was written or found becomes the query of the next search.

KARD's student learned from passages that a rationale had found; at use there is none yet, and a question that reaches
its fact over a bridge ("the country whose capital is Lisbon") shares no word with it. So the student first writes a
rationale from what the question finds, and its words search again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal

NextQuery = Literal["rationale", "question_and_passage"]
Passage = Mapping[str, Any]  # passage_id, title, text, score


def merged(rounds: Sequence[Sequence[Passage]], k: int) -> list[Passage]:
    """The best ``k`` of what all ``rounds`` found (each best first): they take turns, the last round first.

    Never more than ``k``, since the student learned to read so many. A passage stands at its first place.
    """
    taken: dict[str, Passage] = {}
    for place in zip_longest(*reversed(rounds)):
        for passage in place:
            if passage is not None:
                taken.setdefault(passage["passage_id"], passage)
    return list(taken.values())[:k]


def query_with_passage(
    question: str, found: Sequence[Passage], used: Collection[str]
) -> tuple[str, str | None]:
    """The question joined with the best passage of ``found`` that is not in ``used``, and that passage's id.

    A query with a passage in it finds that passage again, which could then be joined in every round. Without another
    one the query is the question, and the id None.
    """
    for passage in found:
        if passage["passage_id"] not in used:
            joined = " ".join(part for part in (question, passage["title"], passage["text"]) if part)
            return joined, passage["passage_id"]
    return question, None
