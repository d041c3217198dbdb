"""Worked examples by hand in the style of AGIEval's English tasks: none of them is in its files."""

from __future__ import annotations

from kard_ray.benchmarks.question import WorkedExample

_REASONING = WorkedExample(
    question=(
        "Every baker of the town rises before five. Nobody who rises before five visits the evening market. Tilda "
        "visited the evening market yesterday.\nIf the statements are true, which of the following must be true?"
    ),
    options=(
        "Tilda rises before five.",
        "Tilda is no baker of the town.",
        "All who rise late are bakers.",
        "No baker likes markets.",
    ),
    answer=1,
    rationale=(
        "Tilda visits the evening market, so she does not rise before five. Every baker of the town does. Hence she "
        "cannot be one of them."
    ),
)
_ORDER = WorkedExample(
    question=(
        "Four boats, P, Q, R and S, leave a harbour one after the other. P leaves before Q. R leaves right after Q. S "
        "does not leave first.\nWhich of the following could be the order in which the boats leave?"
    ),
    options=("P, Q, R, S", "S, P, Q, R", "Q, R, P, S", "P, Q, S, R"),
    answer=0,
    rationale=(
        "S must not be first, which rules out S, P, Q, R. P must come before Q, which rules out Q, R, P, S. R must "
        "follow Q at once, which rules out P, Q, S, R. The order P, Q, R, S keeps all three rules."
    ),
)
_READING = WorkedExample(
    question=(
        "When the lighthouse was switched to automatic lamps, its keeper was told he could leave. He stayed. He "
        "polished brass that nobody would look at, and wrote each evening in a log that nobody would read.\n"
        "The keeper's evening entries mainly show that he"
    ),
    options=(
        "distrusts the new lamps.",
        "hopes to become an author.",
        "holds on to a duty that has ended.",
        "wants to be paid for more hours.",
    ),
    answer=2,
    rationale=(
        "His work is no longer needed, and he knows that nobody reads the log. He writes it all the same, as he "
        "polishes the brass. Both show that he keeps to his former duty."
    ),
)
_ALGEBRA = WorkedExample(
    question="A shop sells a kettle for $45, which is 25% less than its former price. What was the former price?",
    options=("$56.25", "$60", "$70", "$72"),
    answer=1,
    rationale=(
        "The kettle costs 75% of its former price, and these are 45 dollars. A quarter of the price is 45 / 3 = 15 "
        "dollars. The whole price was 4 * 15 = 60 dollars."
    ),
)
_FORMULA = WorkedExample(
    question="What is the sum of the two solutions of $x^2 - 7x + 10 = 0$?",
    gold="7",
    rationale="The product of (x - 2) and (x - 5) is the left side. So x is 2 or 5, and the sum is 2 + 5 = 7.",
)

EXAMPLES: dict[str, tuple[WorkedExample, ...]] = {
    "aqua-rat": (_ALGEBRA,),
    "logiqa-en": (_REASONING,),
    "lsat-ar": (_ORDER,),
    "lsat-lr": (_REASONING,),
    "lsat-rc": (_READING,),
    "sat-en": (_READING,),
    "sat-en-without-passage": (_READING,),
    "sat-math": (_ALGEBRA,),
    "gaokao-english": (_READING,),
    "math": (_FORMULA,),
}
