"""Worked examples by hand for ARC: none of them is in its files."""

from __future__ import annotations

from kard_ray.benchmarks.question import WorkedExample

EXAMPLES: tuple[WorkedExample, ...] = (
    WorkedExample(
        question="A glass of cold juice stands on a table in a warm room. Why does water appear on its outside?",
        options=(
            "Juice seeps through the glass.",
            "Vapor in the air condenses on the glass.",
            "The glass melts a little.",
            "The table gives off water.",
        ),
        answer=1,
        passages=("Water vapor that is cooled turns to liquid; this is called condensation.",),
        rationale=(
            "Warm air holds water vapor. The cold glass cools the air that touches it. Vapor that is cooled turns "
            "into drops of water, and this is condensation."
        ),
    ),
    WorkedExample(
        question="A boy pulls his sledge over snow and then over bare gravel. Which force makes the gravel harder?",
        options=("buoyancy", "magnetism", "friction", "gravity"),
        answer=2,
        passages=("Friction acts against motion and is stronger between rough surfaces.",),
        rationale=(
            "Gravel is rougher than snow. The rougher two surfaces are, the more friction acts against the motion. "
            "The weight of the sledge stays the same."
        ),
    ),
    WorkedExample(
        question="In a pond, insects eat algae, frogs eat the insects, and a heron eats frogs. Which is a producer?",
        options=("the algae", "the insects", "the frogs", "the heron"),
        answer=0,
        passages=("Producers make their own food from sunlight.",),
        rationale=(
            "A producer makes its own food, mostly from sunlight. Algae make food by photosynthesis. Insects, frogs, "
            "and the heron eat other living things."
        ),
    ),
    WorkedExample(
        question="Which change of matter is a chemical change?",
        options=("a puddle dries", "sugar dissolves in tea", "butter softens", "a nail rusts"),
        answer=3,
        passages=("In a chemical change a new substance forms.",),
        rationale=(
            "A chemical change makes a new substance. Rust is a new substance that forms from iron and oxygen. "
            "Drying, dissolving, and softening leave the substance as it was."
        ),
    ),
)
