from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.runtime.dialogue import Dialogue, Reply, Request, Score, Write, in_step


class Counting:
    """Asks a row's ``rounds`` times, each time one request more; each request names its row and round."""

    def __call__(self, row: Mapping[str, Any]) -> Dialogue:
        heard = []
        for turn in range(row["rounds"]):
            requests = [Write(prompt_ids=[row["id"], turn, n]) for n in range(turn + 1)]
            replies = yield requests
            heard += [list(reply.tokens) for reply in replies]
        return {"id": row["id"], "heard": heard}

    def failed(self, row: Mapping[str, Any], error: str) -> dict[str, Any]:
        return {"id": row["id"], "error": error}


@given(st.lists(st.integers(0, 4), max_size=6))
def test_each_row_hears_the_replies_to_its_own_requests_in_their_order(rounds: list[int]) -> None:
    asked = []

    def echo(requests: Sequence[Request]) -> list[Reply]:
        asked.append(len(requests))
        return [Reply(tokens=request.prompt_ids) for request in requests]

    rows = [{"id": at, "rounds": count} for at, count in enumerate(rounds)]
    finished = in_step(rows, Counting(), echo)
    assert [row["id"] for row in finished] == list(range(len(rows)))
    for row, count in zip(finished, rounds, strict=True):
        assert row["heard"] == [[row["id"], turn, n] for turn in range(count) for n in range(turn + 1)]
    # The rows' requests of one round go together.
    assert [n for n in asked if n] == [
        (turn + 1) * sum(count > turn for count in rounds) for turn in range(max(rounds, default=0))
    ]


def test_nothing_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Score(prompt_ids=[1], begun=[2], scored=[])
