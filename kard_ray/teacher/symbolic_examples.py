"""Examples of symbolic knowledge by hand, two for each family of benchmarks; none of them is in a benchmark's files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kard_ray.benchmarks.question import WorkedExample
from kard_ray.teacher.symbolic_parsing import SymbolicKnowledge

Family = Literal["facts", "arithmetic", "logic"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SymbolicExample:
    """A question with its answer and rationale, and what a good teacher notes for questions of its kind."""

    worked: WorkedExample
    knowledge: SymbolicKnowledge


# Benchmarks whose questions are not about facts; the names are those of recipes.
_FAMILIES: dict[str, Family] = {"gsm8k": "arithmetic", "metamath": "arithmetic", "bbh": "logic"}


def family_of(benchmark: str) -> Family:
    """Whose examples the teacher is shown for questions of ``benchmark``; of an unknown one, those for facts."""
    return _FAMILIES.get(benchmark, "facts")


SYMBOLIC_EXAMPLES: dict[Family, tuple[SymbolicExample, ...]] = {
    "facts": (
        SymbolicExample(
            worked=WorkedExample(
                question="On a sunny morning a puddle on the pavement gets smaller because the water",
                options=("freezes", "evaporates", "turns to salt", "is heavier than air"),
                answer=1,
                rationale=(
                    "The sun warms the puddle. Warm water turns to vapour and goes into the air. This is called "
                    "evaporation, and it leaves less water on the ground."
                ),
            ),
            knowledge=SymbolicKnowledge(
                summary=(
                    "First name the process that the question describes, and what starts it. Recall the rule of that "
                    "process and keep the option that follows from it. Drop options that need other conditions than "
                    "those in the question."
                ),
                supplement=(
                    "Evaporation turns a liquid into a gas; heat and wind make it faster. Freezing turns a liquid into "
                    "a solid and needs cold."
                ),
            ),
        ),
        SymbolicExample(
            worked=WorkedExample(
                question="Could a reader who knows only Portuguese follow a daily newspaper of Brazil?",
                options=("yes", "no"),
                answer=0,
                rationale=(
                    "Brazil was a colony of Portugal. The official language of Brazil is Portuguese, and its "
                    "newspapers are written in it. Somebody who reads Portuguese can read them."
                ),
            ),
            knowledge=SymbolicKnowledge(
                summary=(
                    "Find the fact that the question needs and does not state, and make it a question of its own. "
                    "Answer that one first, then go back to what was asked. Do not decide by how unusual the question "
                    "sounds."
                ),
                supplement=(
                    "Newspapers use the language that most people of their country read. Former colonies often kept "
                    "the language of the state that ruled them: most of Latin America speaks Spanish, Brazil "
                    "Portuguese."
                ),
            ),
        ),
    ),
    "arithmetic": (
        SymbolicExample(
            worked=WorkedExample(
                question=(
                    "A baker sells 12 rolls an hour in the morning and twice as many an hour in the afternoon. "
                    "He works 3 hours in the morning and 2 in the afternoon. How many rolls does he sell?"
                ),
                gold="84",
                rationale=(
                    "In the morning he sells 12 * 3 = 36 rolls. In the afternoon he sells 12 * 2 = 24 rolls an hour, "
                    "so 24 * 2 = 48 rolls. Together he sells 36 + 48 = 84 rolls."
                ),
            ),
            knowledge=SymbolicKnowledge(
                summary=(
                    "Divide the time into parts in which the rate stays the same. Find the rate of each part, "
                    "multiply it by the length of the part, and add the results. Work out what 'twice as many' "
                    "refers to before multiplying."
                ),
                supplement=(
                    "Amount = rate * time. 'Twice as many' means times 2, 'half as many' means divided by 2. Rate and "
                    "time must use the same unit of time."
                ),
            ),
        ),
        SymbolicExample(
            worked=WorkedExample(
                question=(
                    "A coat costs 80 dollars. Its price falls by 25 percent. Anna pays with 100 dollars. "
                    "How much is her change?"
                ),
                gold="40",
                rationale=(
                    "The discount is 80 * 25 / 100 = 20 dollars. The coat now costs 80 - 20 = 60 dollars. "
                    "The change is 100 - 60 = 40 dollars."
                ),
            ),
            knowledge=SymbolicKnowledge(
                summary=(
                    "Note what is asked in the end, and which amounts lead there. Compute the new price first, then "
                    "what is left of the money. Check which amount the percentage is taken of, and do not stop at an "
                    "amount on the way."
                ),
                supplement=(
                    "p percent of x is x * p / 100. Price after a discount = price - discount. Change = money given - "
                    "price to pay."
                ),
            ),
        ),
    ),
    "logic": (
        SymbolicExample(
            worked=WorkedExample(
                question=(
                    "Three books stand on a shelf. The red book is to the left of the blue book. The green book is to "
                    "the right of the blue book. Which book stands in the middle?"
                ),
                options=("the red book", "the blue book", "the green book"),
                answer=1,
                rationale=(
                    "Red is left of blue. Green is right of blue. The order from left to right is red, blue, green, so "
                    "blue is between the others."
                ),
            ),
            knowledge=SymbolicKnowledge(
                summary=(
                    "Write the places in a row and enter one statement after the other. When a statement allows two "
                    "places, keep both until a later statement excludes one. Read the place that is asked for only "
                    "when all statements hold."
                ),
                supplement=(
                    "If one thing is left of a second and the second is left of a third, the first is left of the "
                    "third. Of three things in a row, the middle one has exactly one on each side."
                ),
            ),
        ),
        SymbolicExample(
            worked=WorkedExample(
                question=(
                    "Every painter is patient. Some neighbours are painters. "
                    "Is it valid to conclude that some neighbours are patient?"
                ),
                options=("valid", "invalid"),
                answer=0,
                rationale=(
                    "Take the neighbours who are painters; there is at least one. Every painter is patient, so that "
                    "neighbour is patient. The conclusion holds in every case."
                ),
            ),
            knowledge=SymbolicKnowledge(
                summary=(
                    "Translate each sentence into sets, then look for one case in which the premises hold and the "
                    "conclusion fails. Only when there is no such case the argument is valid. Judge the form, not "
                    "whether the sentences are true in the world."
                ),
                supplement=(
                    "'Every A is B' puts A inside B and says nothing of the B that are not A. 'Some A are B' means "
                    "that at least one thing is both. 'If P then Q' gives 'if not Q then not P', but not 'if Q then P'."
                ),
            ),
        ),
    ),
}
