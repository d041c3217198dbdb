from __future__ import annotations

from typing import Any

import pytest

from kard_ray.evaluation.reading import was_cut


def row(*calls: list[int], options: tuple[int | None, ...] = (None,)) -> dict[str, Any]:
    return {
        "samples": [{"option": option} for option in options],
        "calls": [{"prompt_tokens": 9, "generated_tokens": tokens} for tokens in calls],
    }


@pytest.mark.parametrize(
    ("asked", "also_at_once", "cut"),
    [
        (row([7]), False, False),
        (row([8]), False, True),
        (row([3], [8]), False, True),  # in its second pass
        (row([3, 8, 2], options=(None, None, None)), False, True),  # one of three samples
        (row([7], [8, 8], options=(0,)), False, False),  # options of as many tokens are no texts
        (row([8], [2, 2], options=(0,)), False, True),
        (row([7], [8, 8], [8, 8], options=(0,)), True, False),
        (row([8, 1], [2, 2], [2, 2], [2, 2], options=(0, 1)), True, True),
        (row([8, 8], options=(1,)), False, False),  # nothing was written before
        (row(options=()), False, False),  # refused by the engine
    ],
)
def test_a_text_of_as_many_tokens_as_it_may_have_was_cut(
    asked: dict[str, Any], also_at_once: bool, cut: bool
) -> None:
    assert was_cut(asked, 8, also_at_once=also_at_once) == cut
