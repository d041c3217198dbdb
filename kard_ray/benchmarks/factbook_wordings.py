"""How the Factbook questions are worded: four or more ways for each family of questions.

``{a}``, ``{b}``, ``{c}`` are countries (a name, or a bridge such as "the country whose capital is Lisbon");
``{noun}`` is a numeric field, ``{cmp}`` larger, smaller, higher or lower, ``{sup}`` its superlative;
``{p}`` is what is asked for ("the currency of Chile"), ``{label}`` and ``{roles}`` come from the attribute.
"""

from __future__ import annotations

BRIDGES = {
    "capital": "the country whose capital is {v}",
    "highest-point": "the country whose highest point is {v}",
    "internet-code": "the country whose internet country code is {v}",
}

COMPARE = (
    "Is the {noun} of {a} {cmp} than that of {b}?",
    "Is it true that the {noun} of {a} is {cmp} than that of {b}?",
    "When {a} is compared with {b}, is its {noun} the {cmp} one?",
    "Does {a} have a {cmp} figure for {noun} than {b}?",
    "Judging by {noun}, does {a} come out {cmp} than {b}?",
    "Compared with {b}, does {a} have the {cmp} figure for {noun}?",
)

CHOICE = (
    "What is {p}?",
    "Which of these is {p}?",
    "Which option names {p}?",
    "Choose {p}.",
)

# {p} is filled with {who}: "the currency of the country whose total area is larger, A or B".
ATTRIBUTE_OF_WINNER = (
    ("Which of these is {p}?", "the country whose {noun} is {cmp}, {a} or {b}"),
    ("Compare the {noun} of {a} and {b}. Which of these is {p}?", "the country with the {cmp} figure"),
    (
        "Of {a} and {b}, take the one with the {cmp} figure for {noun}. Which option names {p}?",
        "that country",
    ),
    ("Look at the {noun} of {a} and of {b}. Which option names {p}?", "the country where it is {cmp}"),
)

LARGEST_OF_THREE = (
    "Of {a}, {b} and {c}, which country has the {sup} figure for {noun}?",
    "Which country has the {sup} figure for {noun}: {a}, {b} or {c}?",
    "If {a}, {b} and {c} are sorted by {noun}, which one has the {sup} figure?",
    "Compare the {noun} of {a}, {b} and {c}. Which country has the {sup} figure?",
)

LARGER_OF_TWO = (
    "Of {a} and {b}, which country has the {cmp} figure for {noun}?",
    "Which country has the {cmp} figure for {noun}: {a} or {b}?",
    "If {a} and {b} are compared by {noun}, which one has the {cmp} figure?",
    "Compare the {noun} of {a} and {b}. Which country has the {cmp} figure?",
)

LONGER_BORDER = (
    "Which country shares the {cmp} land border with {c}: {a} or {b}?",
    "Is it {a} or {b} that has the {cmp} land border with {c}?",
    "Of its neighbors {a} and {b}, with which does {c} share the {cmp} land border?",
    "Compare the land borders of {c} with {a} and with {b}. Which one is {cmp}?",
)

LARGER_SHARE = (
    "Which of the main {trade} partners of {c} takes the {cmp} share: {a} or {b}?",
    "Is it {a} or {b} that has the {cmp} share among the main {trade} partners of {c}?",
    "Of {a} and {b}, main {trade} partners of {c}, which one takes the {cmp} share?",
    "Compare the shares of {a} and {b} among the main {trade} partners of {c}. Which one is {cmp}?",
)

SAME = (
    "Do {a} and {b} have the same {label}?",
    "Is the {label} of {a} the same as that of {b}?",
    "Does {a} share its {label} with {b}?",
    "Is it true that the {label} of {a} is also that of {b}?",
)

BOTH = (
    "Do the {roles} of both {a} and {b} include {v}?",
    "Is it true that the {roles} of {a} and also those of {b} include {v}?",
    "Can {v} be found among the {roles} of {a} as well as of {b}?",
    "Are both {a} and {b} listed with {v} among their {roles}?",
)
