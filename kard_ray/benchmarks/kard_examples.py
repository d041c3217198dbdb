"""Worked examples by hand for MedQA, StrategyQA and OpenBookQA: none of them is in the benchmarks' files."""

from __future__ import annotations

from kard_ray.benchmarks.question import WorkedExample

_YES_NO = ("yes", "no")

EXAMPLES: dict[str, tuple[WorkedExample, ...]] = {
    "medqa": (
        WorkedExample(
            question=(
                "A 58-year-old man with hypertension starts a new drug. Two weeks later he has a dry cough "
                "without fever. Which drug did he most likely start?"
            ),
            options=("Amlodipine", "Hydrochlorothiazide", "Lisinopril", "Metoprolol"),
            answer=2,
            passages=(
                "ACE inhibitors such as lisinopril slow the breakdown of bradykinin and may cause a dry cough.",
            ),
            rationale=(
                "ACE inhibitors raise bradykinin in the lungs, and this causes a dry cough. Lisinopril is the "
                "only ACE inhibitor among the options."
            ),
        ),
        WorkedExample(
            question=(
                "A 24-year-old woman who eats no animal products has numb feet and large red blood cells. "
                "Which vitamin does she lack?"
            ),
            options=("Vitamin B12", "Vitamin C", "Vitamin D", "Vitamin K"),
            answer=0,
            passages=(
                "Vitamin B12 is found in animal products; its lack causes large red cells and nerve damage.",
            ),
            rationale=(
                "Large red blood cells together with nerve damage point to a lack of vitamin B12. A diet without "
                "animal products holds no vitamin B12."
            ),
        ),
        WorkedExample(
            question=(
                "A 30-year-old man has crushing pain in his big toe after a meal with much meat and beer. "
                "Crystals from the joint are needle-shaped. What do they consist of?"
            ),
            options=("Calcium pyrophosphate", "Cholesterol", "Hydroxyapatite", "Monosodium urate"),
            answer=3,
            passages=(
                "In gout, needle-shaped crystals of monosodium urate settle in joints, often the big toe.",
            ),
            rationale=(
                "Sudden pain in the big toe after meat and beer is typical of gout. In gout the needle-shaped "
                "crystals are monosodium urate."
            ),
        ),
    ),
    "strategyqa": (
        WorkedExample(
            question="Could a giraffe stand upright inside a common family garage?",
            options=_YES_NO,
            answer=1,
            passages=(
                "Adult giraffes are 4.3 to 5.7 metres tall.",
                "A family garage is about 2.4 metres high.",
            ),
            rationale=(
                "An adult giraffe is at least 4.3 metres tall. A garage is about 2.4 metres high. "
                "4.3 is larger than 2.4, so the giraffe does not fit."
            ),
        ),
        WorkedExample(
            question="Was the telephone invented before the first flight of a powered aeroplane?",
            options=_YES_NO,
            answer=0,
            passages=(
                "Alexander Graham Bell received the patent of the telephone in 1876.",
                "The Wright brothers flew a powered aeroplane in 1903.",
            ),
            rationale=(
                "The telephone was patented in 1876. The first powered flight was in 1903. 1876 is earlier than 1903."
            ),
        ),
        WorkedExample(
            question="Would a person with a peanut allergy have to avoid satay sauce?",
            options=_YES_NO,
            answer=0,
            passages=("Satay sauce is a sauce made from roasted peanuts.",),
            rationale="Satay sauce is made from peanuts. A person with a peanut allergy must not eat peanuts.",
        ),
    ),
    "openbookqa": (
        WorkedExample(
            question="A metal spoon left in a pot of hot soup will",
            options=("become hot", "become lighter", "float", "turn to liquid"),
            answer=0,
            passages=("Metal is a thermal conductor.",),
            rationale="Metal conducts heat. Heat moves from the hot soup into the spoon, and so the spoon gets hot.",
        ),
        WorkedExample(
            question="Which animal is best protected from being seen in snow?",
            options=("a brown bear", "a green frog", "a white hare", "a black crow"),
            answer=2,
            passages=("Camouflage is when an animal has the colour of its surroundings.",),
            rationale=(
                "An animal is hard to see if it has the colour of its surroundings. Snow is white, and so is the hare."
            ),
        ),
        WorkedExample(
            question="If the sun did not shine on a field for months, the wheat there would",
            options=("grow faster", "make more seeds", "move to the light", "die"),
            answer=3,
            passages=("A plant requires sunlight for photosynthesis.",),
            rationale="Wheat is a plant. Plants need sunlight to make their food. Without food the wheat cannot live.",
        ),
    ),
}
