"""Worked examples by hand for GSM8K: none of them is in its files. Each step of arithmetic is written out."""

from __future__ import annotations

from kard_ray.benchmarks.question import WorkedExample

EXAMPLES: tuple[WorkedExample, ...] = (
    WorkedExample(
        question=(
            "A workshop keeps its pencils in 6 boxes of 8 pencils each. The painters take 13 pencils away. "
            "How many pencils are still in the boxes?"
        ),
        gold="35",
        rationale=(
            "The 6 boxes hold 6 * 8 = 48 pencils. The painters take 13 of them, so 48 - 13 = 35 pencils are "
            "left."
        ),
    ),
    WorkedExample(
        question=(
            "Lena is paid $9 an hour at the harbour. On Friday she works 4 hours, and on Saturday twice as "
            "long. How many dollars is she paid for both days?"
        ),
        gold="108",
        rationale=(
            "On Saturday she works 2 * 4 = 8 hours. On both days she works 4 + 8 = 12 hours. For these she "
            "is paid 12 * 9 = 108 dollars."
        ),
    ),
    WorkedExample(
        question=(
            "A seat on the night train costs $40. Pupils pay 25% less. How many dollars do 3 pupils pay for "
            "their seats together?"
        ),
        gold="90",
        rationale=(
            "A quarter of 40 dollars is 40 / 4 = 10 dollars. A pupil pays 40 - 10 = 30 dollars. Three pupils "
            "pay 3 * 30 = 90 dollars."
        ),
    ),
    WorkedExample(
        question=(
            "A rain tank has room for 1,500 litres and is two thirds full. The gardener waters the beds with "
            "240 litres. How many litres does the tank hold then?"
        ),
        gold="760",
        rationale=(
            "A third of the tank is 1500 / 3 = 500 litres, so two thirds are 2 * 500 = 1000 litres. After "
            "the watering there are 1000 - 240 = 760 litres."
        ),
    ),
)
