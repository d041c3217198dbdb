"""How a question refers to its countries, and how a chain of facts is told in sentences."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from kard_ray.benchmarks.factbook_entries import load_entries
from kard_ray.benchmarks.factbook_facts import ATTRIBUTES, Attribute, Country, NumericField, gives_away
from kard_ray.benchmarks.factbook_wordings import BRIDGES

MIN_RATIO = 1.25  # two figures are only compared if the larger is at least this many times the smaller


@dataclass(frozen=True, slots=True)
class Mention:
    """A country in a question: by name, or by a bridge ("the country whose capital is Lisbon").

    A bridge is a key of BRIDGES; it has a ``statement`` ("The capital of Portugal is Lisbon.") and the passage that
    makes it.
    """

    country: Country
    phrase: str
    bridge: str = ""
    statement: str = ""
    passage_id: str = ""


def named(country: Country) -> Mention:
    """The country by its name."""
    return Mention(country, country.phrase)


def bridge(country: Country, rng: random.Random, avoid: str = "") -> Mention | None:
    """The country by one of its bridges that is not the field or attribute ``avoid``, if it has any.

    A bridge leads to one entry of the whole book only and does not hold the country's name.
    """
    usable = [
        (attribute, value)
        for attribute in ATTRIBUTES
        if attribute.key in BRIDGES and attribute.key not in (avoid, _SAME_FIELD.get(avoid))
        for value in (country.answers[attribute.key].values[:1] if attribute.key in country.answers else ())
        if _bridge_counts()[attribute.key, _core(value)] == 1 and not gives_away(country.name, value)
    ]
    if not usable:
        return None
    attribute, value = rng.choice(usable)
    phrase = BRIDGES[attribute.key].format(v=value)
    passage_id = country.answers[attribute.key].passage_of(value)
    return Mention(country, phrase, attribute.key, told(attribute, country, value), passage_id)


_COMMON_WORDS = re.compile(
    r"\b(?:the|of|city|mount|monts?|monte|mountains?|mt|pico?|peak|cerro|j[ae]bal|jebel|nevado|volcan)\b"
)
_SAME_FIELD = {"elevation": "highest-point"}


@lru_cache(maxsize=1)
def _bridge_counts() -> Counter[tuple[str, str]]:
    """How many entries of the whole book have each bridge value, however its common words are spelled."""
    attributes = [attribute for attribute in ATTRIBUTES if attribute.key in BRIDGES]
    return Counter(
        (attribute.key, core)
        for entry in load_entries()
        for attribute in attributes
        for core in {_core(value) for value in attribute.values(entry.leaves.get(attribute.path, ""))}
    )


def _core(value: str) -> str:
    """A value without the words and endings in which two entries may differ: "Mont Nimba", "Monts Nimba"."""
    lower = value.lower()
    return " ".join(re.findall(r"[^\W\d_]+", _COMMON_WORDS.sub(" ", lower))) or lower


def statements(mentions: Iterable[Mention]) -> list[str]:
    """The sentences that resolve the bridges."""
    return [mention.statement for mention in mentions if mention.statement]


def told(attribute: Attribute, country: Country, value: str) -> str:
    """The sentence that states one attribute of a country."""
    return attribute.states.format(c=country.phrase, C=upper_first(country.phrase), v=value)


def figure(field: NumericField, country: Country) -> str:
    """The sentence that states one figure of a country."""
    return f"The {field.noun} of {country.phrase} is {country.numbers[field.key].figure}."


def comparison(field: NumericField, first: Country, second: Country) -> str:
    """Such as: 92,090 is larger than 4,033."""
    a, b = first.numbers[field.key], second.numbers[field.key]
    return f"{a.plain} is {'larger' if a.value > b.value else 'smaller'} than {b.plain}."


def high_low(field: NumericField, pair: Sequence[Country]) -> tuple[Country, Country]:
    """The two countries, the one with the larger figure first."""
    high, low = sorted(pair, key=lambda country: -country.numbers[field.key].value)
    return high, low


def far_apart(field: NumericField, countries: Sequence[Country]) -> bool:
    """Whether all have the figure and any two figures differ by the factor MIN_RATIO."""
    if any(field.key not in country.numbers for country in countries):
        return False
    values = sorted(country.numbers[field.key].value for country in countries)
    return all(high >= MIN_RATIO * low for low, high in pairwise(values))


def figure_passages(field: NumericField, countries: Iterable[Country]) -> tuple[str, ...]:
    """The passages that state the countries' figures."""
    return tuple(country.numbers[field.key].passage_id for country in countries)


def upper_first(text: str) -> str:
    """``text`` with a capital at its beginning."""
    return text[:1].upper() + text[1:]
