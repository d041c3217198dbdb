"""The kinds of Factbook questions, and within each the forms of reasoning that answer it."""

from __future__ import annotations

from collections.abc import Sequence

from kard_ray.benchmarks.factbook_wordings import BRIDGES

DIRECTIONS = ("larger", "smaller")
YES_NO = ("yes", "no")


def _patterns(kind: str, **endings: Sequence[str]) -> tuple[str, ...]:
    """All of one kind: ``kind/steps/ending``, and behind it the bridge where the kind has one."""
    bridges = [f"/{key}" for key in BRIDGES] if is_bridged(kind) else [""]
    return tuple(
        f"{kind}/{steps}/{ending}{bridge}"
        for steps, found in endings.items()
        for ending in found
        for bridge in bridges
    )


def is_bridged(kind: str) -> bool:
    """Whether questions of ``kind`` reach a country through a bridge."""
    return kind.endswith("_bridge")


# The forms of reasoning of each kind. A weak teacher copies the form of its examples, also which figure is called the
# larger one and which sentence leads over the bridge: of SmolLM2-135M's samples 25 % were kept when it was shown
# examples of the same kind (1,800 samples, T = 0.6), 46 % with those of the same pattern (360 samples, T = 0.2).
PATTERNS = {
    "compare": _patterns("compare", figures=DIRECTIONS),
    "compare_bridge": _patterns("compare_bridge", figures=DIRECTIONS),
    "choice": _patterns("choice", fact=("one",)),
    "choice_bridge": _patterns("choice_bridge", fact=("one",)),
    "two_hop": _patterns("two_hop", winner=DIRECTIONS, three=DIRECTIONS, same=YES_NO, both=YES_NO),
    "two_hop_bridge": _patterns(
        "two_hop_bridge",
        two=DIRECTIONS,
        borders=DIRECTIONS,
        exports=DIRECTIONS,
        imports=DIRECTIONS,
        same=YES_NO,
        both=YES_NO,
    ),
}
KINDS = tuple(PATTERNS)


def direction(larger: bool) -> str:
    """How a comparison ends in a pattern's name."""
    return DIRECTIONS[not larger]
