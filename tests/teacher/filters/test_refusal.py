from __future__ import annotations

import pytest

from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.refusal import Refusal


def reason(rationale: str, check: Refusal | None = None) -> str | None:
    written = Written(
        rationale=rationale, question="", options=("yes", "no"), answer=0, passages=(), answer_form="text"
    )
    return (check or Refusal()).reason(written)


@pytest.mark.parametrize(
    "rationale",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, but I can’t assist with that.",  # typographic apostrophes
        "Sorry, but I'm not able to generate an explanation for that particular question.",
        "I am afraid that I cannot say.",
        "I apologize, but as this is about violence I will not answer.",
        "This question is offensive. I cannot provide an answer to it.",
        "The text is cut, so I am unable to answer.",
        "As an AI language model, I cannot condone violence.",
        "It is unethical. As an AI, my responses are guided by principles.",
        "As a language model AI, I want to add that it is crucial to consider the context.",
        "However, we don't have access to that information as an AI assistant.",
        "I am just an AI, and this is a guess.",
        "This is insensitive. We will not provide an explanation for this question.",
        "My guess ends with my training data of 2021.",
    ],
)
def test_a_refusal_is_dropped_and_quoted(rationale: str) -> None:
    found = reason(rationale)
    assert found is not None
    assert found.startswith("refuses: ")
    assert found.removeprefix("refuses: ").strip("'\"") in rationale.replace("’", "'")


@pytest.mark.parametrize(
    "rationale",
    [
        "Plants cannot move, so they bend towards the light.",
        "We cannot sense differences in atomic structure through touch alone.",
        "The purpose is not given, so we cannot determine whether a seaman would use it.",
        "We do not have chlorophyll, so we do not produce oxygen.",
        "The contribution to World War I cannot be overlooked.",
        "Queen Elizabeth I could not have read the works of Jean-Paul Sartre.",
        "Pedubastis I could not provide help to Japan.",
        "Watson apologized for his remarks. It is better to be safe than sorry.",
        'He wrote: "I am so sunken in sadness that I cannot think of anything else."',
        "Siri is made by Apple. As an AI assistant, Siri answers questions.",
        "The forces change as an airboat moves from grass to water.",
        "A thermostat helps, but I am sure that it is off.",
        "It is not possible to determine the road surface, so (B) is wrong.",
        "",
    ],
)
def test_reasoning_about_what_cannot_be_is_kept(rationale: str) -> None:
    assert reason(rationale) is None


def test_more_phrases_can_be_given() -> None:
    check = Refusal(also=("please refer to the previous",))
    assert reason("A duplicate. Please refer to the previous explanation.", check) is not None
    assert reason("A duplicate. Please refer to the previous explanation.") is None
    assert reason("Plants cannot move.", check) is None
