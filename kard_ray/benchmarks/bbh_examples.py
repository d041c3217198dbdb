"""Worked examples by hand for the 27 tasks of BIG-Bench Hard: none of them is in its files or its prompts."""

from __future__ import annotations

from kard_ray.benchmarks.bbh_order_examples import ORDER_EXAMPLES
from kard_ray.benchmarks.question import WorkedExample

_YES_NO = ("Yes", "No")

EXAMPLES: dict[str, tuple[WorkedExample, ...]] = ORDER_EXAMPLES | {
    "boolean_expressions": (
        WorkedExample(
            question="not ( False or True ) or ( True and not False ) is",
            options=("True", "False"),
            answer=0,
            rationale=(
                "( False or True ) is True, so not ( False or True ) is False. not False is True, so ( True "
                "and not False ) is True. False or True is True."
            ),
        ),
        WorkedExample(
            question="( not True or False ) and not ( False and True ) is",
            options=("True", "False"),
            answer=1,
            rationale=(
                "not True is False, so ( not True or False ) is False. ( False and True ) is False, so not ( "
                "False and True ) is True. False and True is False."
            ),
        ),
    ),
    "causal_judgement": (
        WorkedExample(
            question=(
                "What would most people say about this story?\nA museum lets its guards touch the old clock, "
                "but forbids its cleaners to do so. The clock only stops if two people hold the pendulum at "
                "the same moment. One evening a guard and a cleaner both hold it, and the clock stops. Did "
                "the cleaner cause the clock to stop?"
            ),
            options=_YES_NO,
            answer=0,
            rationale=(
                "Both acts were needed for the clock to stop. Only the cleaner was forbidden to touch it. "
                "People mostly see the one who breaks a rule as the cause."
            ),
        ),
    ),
    "date_understanding": (
        WorkedExample(
            question=(
                "The recital was planned for 3 March 2015 and was then put off by two days. What is the date "
                "one week after the recital in MM/DD/YYYY?"
            ),
            options=("03/10/2015", "03/12/2015", "03/05/2015", "02/26/2015"),
            answer=1,
            rationale=(
                "Two days after 3 March 2015 is 5 March 2015, the day of the recital. One week later is 12 "
                "March 2015. In MM/DD/YYYY this is 03/12/2015."
            ),
        ),
    ),
    "disambiguation_qa": (
        WorkedExample(
            question=(
                "Whom or what does the pronoun mean, or can this not be told?\nSentence: The baker thanked "
                "the miller because he had brought the flour."
            ),
            options=("The baker had brought the flour", "The miller had brought the flour", "Ambiguous"),
            answer=1,
            rationale=(
                "One thanks somebody for what that person did. The baker thanks the miller. So it is the "
                "miller who had brought the flour."
            ),
        ),
        WorkedExample(
            question=(
                "Whom or what does the pronoun mean, or can this not be told?\nSentence: The pianist met the "
                "tailor at her studio."
            ),
            options=("It was the pianist's studio", "It was the tailor's studio", "Ambiguous"),
            answer=2,
            rationale=(
                "A pianist may have a studio, and a tailor may have one too. Nothing in the sentence tells "
                "whose studio it is."
            ),
        ),
    ),
    "dyck_languages": (
        WorkedExample(
            question=(
                "Which brackets are missing at the end, so that all of them are closed? Input: { [ ( ) ] < ( "
                ")"
            ),
            gold="> }",
            rationale=(
                "{ opens, [ opens, ( opens, ) closes (, ] closes [, < opens, ( opens, ) closes (. Still open "
                "are { and then <. The last one is closed first, with > and then }."
            ),
        ),
    ),
    "formal_fallacies": (
        WorkedExample(
            question=(
                '"Every singer of the choir is a member of the club. No member of the club is a neighbour of '
                'Anna. Hence, no singer of the choir is a neighbour of Anna."\nDoes the conclusion follow '
                "from the premises: is the argument deductively valid or invalid?"
            ),
            options=("valid", "invalid"),
            answer=0,
            rationale=(
                "Every singer is a member of the club. No member of the club is a neighbour of Anna. So a "
                "singer cannot be a neighbour of Anna, and the conclusion follows."
            ),
        ),
        WorkedExample(
            question=(
                '"Whoever plays chess likes riddles. Tom likes riddles. Hence, Tom plays chess."\nDoes the '
                "conclusion follow from the premises: is the argument deductively valid or invalid?"
            ),
            options=("valid", "invalid"),
            answer=1,
            rationale=(
                "Chess players like riddles, but others may like riddles too. Tom may be one of these "
                "others. So the conclusion does not follow."
            ),
        ),
    ),
    "geometric_shapes": (
        WorkedExample(
            question=(
                'This SVG path element <path d="M 5.00,5.00 L 45.00,5.00 L 25.00,40.00 L 5.00,5.00"/> draws a'
            ),
            options=(
                "circle",
                "heptagon",
                "hexagon",
                "kite",
                "line",
                "octagon",
                "pentagon",
                "rectangle",
                "triangle",
            ),
            answer=8,
            rationale=(
                "The path starts at 5.00,5.00 and draws three straight lines. The last one comes back to the "
                "start. A closed shape with three straight sides is a triangle."
            ),
        ),
    ),
    "hyperbaton": (
        WorkedExample(
            question="In which phrase do the adjectives stand in the right order:",
            options=("old little blue Dutch wooden boat", "little old blue Dutch wooden boat"),
            answer=1,
            rationale=(
                "Adjectives stand in the order size, age, color, origin, material. Little is a size and old "
                "is an age. So little comes before old, and then blue, Dutch, and wooden."
            ),
        ),
    ),
    "movie_recommendation": (
        WorkedExample(
            question="Which movie is most like Alien, Event Horizon, Life, Pandorum:",
            options=("Notting Hill", "Sunshine", "Chicago", "Moneyball"),
            answer=1,
            rationale=(
                "All four movies are frightening stories of a crew on a spaceship. Sunshine too is about a "
                "crew in danger on a spaceship. The others are a romance, a musical, and a sports drama."
            ),
        ),
    ),
    "multistep_arithmetic_two": (
        WorkedExample(
            question="((3 + -4 * 2) * (5 - -1 - 2)) =",
            gold="-20",
            rationale=(
                "The first part is 3 + -4 * 2 = 3 + -8 = -5. The second part is 5 - -1 - 2 = 6 - 2 = 4. "
                "Together they are -5 * 4 = -20."
            ),
        ),
    ),
    "navigate": (
        WorkedExample(
            question=(
                "Do these steps lead back to the place where you began? Walk 4 steps. Turn around. Walk 1 "
                "step. Walk 3 steps."
            ),
            options=_YES_NO,
            answer=0,
            rationale=(
                "First there are 4 steps forward. After the turn there are 1 + 3 = 4 steps back. 4 - 4 = 0, "
                "so this is where the walk began."
            ),
        ),
    ),
    "object_counting": (
        WorkedExample(
            question=(
                "I have two harps, a lamp, three oboes, and a gong. How many musical instruments do I have?"
            ),
            gold="6",
            rationale=(
                "A lamp is no musical instrument. The instruments are two harps, three oboes, and one gong. "
                "2 + 3 + 1 = 6."
            ),
        ),
    ),
    "penguins_in_a_table": (
        WorkedExample(
            question=(
                "The first line of this table is its header, and each other line is a penguin:\nname, age, "
                "height (cm), weight (kg)\nPip, 4, 62, 12\nMona, 9, 75, 14\nOtto, 6, 57, 10\nHow many of the "
                "penguins are more than 5 years old?"
            ),
            options=("1", "2", "3"),
            answer=1,
            rationale=(
                "Pip is 4, Mona is 9, and Otto is 6 years old. More than 5 are Mona and Otto, and these are "
                "2."
            ),
        ),
    ),
    "reasoning_about_colored_objects": (
        WorkedExample(
            question=(
                "A green pen, a red cup, and a black key lie on a shelf from left to right. What color is "
                "the thing directly to the right of the cup?"
            ),
            options=("red", "green", "black", "blue"),
            answer=2,
            rationale=(
                "From left to right there are the pen, the cup, and the key. After the cup comes the key. It "
                "is black."
            ),
        ),
    ),
    "ruin_names": (
        WorkedExample(
            question="Which changed spelling of the movie name 'bridge of spies' is funny?",
            options=("bridge of spiesh", "bridge of pies", "bbridge of spies", "bridge uf spies"),
            answer=1,
            rationale=(
                "Without its s, spies becomes pies, which is a word. A bridge made of pies is a funny "
                "thought. The others are only wrong spellings."
            ),
        ),
    ),
    "salient_translation_error_detection": (
        WorkedExample(
            question=(
                "Which kind of mistake does the translation from German hold?\nSource: Die alte Brücke wurde "
                "im Jahr 1932 gebaut.\nTranslation: The old bridge was built in 1952."
            ),
            options=(
                "Modifiers or Adjectives",
                "Numerical Values",
                "Negation or Antonyms",
                "Named Entities",
                "Dropped Content",
                "Facts",
            ),
            answer=1,
            rationale=(
                "The source says that the old bridge was built in 1932. The translation says 1952. Only the "
                "year, a number, has changed."
            ),
        ),
    ),
    "snarks": (
        WorkedExample(
            question="Which of the two is meant as sarcasm?",
            options=(
                "Three hours in the queue for a stamp is just what my day needed",
                "Three hours in the sun by the lake is just what my day needed",
            ),
            answer=0,
            rationale=(
                "Nobody enjoys three hours in a queue for a stamp. To say that the day needed it means the "
                "opposite. Three hours by a lake can really be pleasant."
            ),
        ),
    ),
    "sports_understanding": (
        WorkedExample(
            question='Could this sentence well be true? "Steffi Graf hit a home run in the second set."',
            options=("yes", "no"),
            answer=1,
            rationale=(
                "Steffi Graf is a tennis player. A home run belongs to baseball. Tennis has no home runs."
            ),
        ),
    ),
    "temporal_sequences": (
        WorkedExample(
            question=(
                "Nora went to the bakery today. We know that:\nNora got up at 7am.\nPaul saw Nora swimming "
                "in the lake from 7am to 9am.\nRita saw Nora painting a fence from 11am to 6pm.\nThe bakery "
                "closed at 6pm.\nBetween what times could Nora have gone to the bakery?"
            ),
            options=("7am to 9am", "9am to 11am", "11am to 6pm"),
            answer=1,
            rationale=(
                "From 7am to 9am Nora was swimming. From 11am to 6pm she was painting, and then the bakery "
                "was closed. Free is only the time from 9am to 11am."
            ),
        ),
    ),
    "web_of_lies": (
        WorkedExample(
            question="Mira lies. Jon says Mira tells the truth. Kai says Jon lies. Does Kai tell the truth?",
            options=_YES_NO,
            answer=0,
            rationale=(
                "Mira lies. Jon says that Mira tells the truth, so Jon lies. Kai says that Jon lies, and "
                "that is so. Kai tells the truth."
            ),
        ),
    ),
    "word_sorting": (
        WorkedExample(
            question="Put these words into alphabetical order: List: pear lemon apricot plum",
            gold="apricot lemon pear plum",
            rationale=(
                "The first letters are p, l, a, and p. First comes apricot with a, then lemon with l. Of the "
                "two words with p, pear comes before plum, because e comes before l."
            ),
        ),
    ),
}
