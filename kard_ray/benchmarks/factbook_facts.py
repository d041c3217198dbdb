"""The facts that questions are made of: numbers that can be compared, attributes that can be chosen.

Every fact names the passage that states it, word for word as it appears in a question's options or rationale.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from kard_ray.benchmarks.factbook_data import library
from kard_ray.benchmarks.factbook_entries import Entry, load_entries


@dataclass(frozen=True, slots=True)
class NumericField:
    """A figure that two countries can be compared by; ``unit`` is the text right behind the number."""

    key: str
    path: str
    noun: str
    unit: str = ""
    more: str = "larger"
    less: str = "smaller"
    prefix: str = ""


_PEOPLE = "People and Society"
NUMERIC_FIELDS: tuple[NumericField, ...] = (
    NumericField("area", "Geography|Area|total", "total area", " sq km"),
    NumericField("population", f"{_PEOPLE}|Population|total", "total population"),
    NumericField("coastline", "Geography|Coastline", "coastline length", " km"),
    NumericField("land-border", "Geography|Land boundaries|total", "total land border length", " km"),
    NumericField("elevation", "Geography|Elevation|highest point", "highest point", " m", "higher", "lower"),
    NumericField("forest", "Geography|Land use|forest", "share of forest land", "%"),
    NumericField("farmland", "Geography|Land use|agricultural land", "share of agricultural land", "%"),
    NumericField("gdp", "Economy|Real GDP (purchasing power parity)", "GDP at purchasing power parity",
                 " million dollars"),
    NumericField("gdp-per-capita", "Economy|Real GDP per capita", "GDP per capita", "", "higher", "lower", "$"),
    NumericField("exports", "Economy|Exports", "value of exports", " million dollars"),
    NumericField("imports", "Economy|Imports", "value of imports", " million dollars"),
    NumericField("unemployment", "Economy|Unemployment rate", "unemployment rate", "%", "higher", "lower"),
    NumericField("inflation", "Economy|Inflation rate (consumer prices)", "inflation rate", "%", "higher", "lower"),
    NumericField("birth-rate", f"{_PEOPLE}|Birth rate", "birth rate", " births/1,000 population", "higher", "lower"),
    NumericField("death-rate", f"{_PEOPLE}|Death rate", "death rate", " deaths/1,000 population", "higher", "lower"),
    NumericField("fertility", f"{_PEOPLE}|Total fertility rate", "total fertility rate", " children born/woman",
                 "higher", "lower"),
    NumericField("infant-mortality", f"{_PEOPLE}|Infant mortality rate|total", "infant mortality rate",
                 " deaths/1,000 live births", "higher", "lower"),
    NumericField("life-expectancy", f"{_PEOPLE}|Life expectancy at birth|total population",
                 "life expectancy at birth", " years", "higher", "lower"),
    NumericField("median-age", f"{_PEOPLE}|Median age|total", "median age", " years", "higher", "lower"),
    NumericField("urban", f"{_PEOPLE}|Urbanization|urban population", "urban share of the population",
                 "% of total population"),
    NumericField("physicians", f"{_PEOPLE}|Physician density", "physician density",
                 " physicians/1,000 population", "higher", "lower"),
    NumericField("emissions", "Environment|Carbon dioxide emissions|total emissions",
                 "level of carbon dioxide emissions", " metric tonnes of CO2", "higher", "lower"),
    NumericField("electricity", "Energy|Electricity|consumption", "electricity consumption", " kWh", "higher", "lower"),
    NumericField("internet-users", "Communications|Internet users|percent of population",
                 "share of internet users in the population", "%"),
    NumericField("airports", "Transportation|Airports", "number of airports"),
    NumericField("railways", "Transportation|Railways|total", "railway length", " km"),
    NumericField("ships", "Transportation|Merchant marine|total", "number of merchant ships"),
)  # fmt: skip

Falsity = Literal["other", "unnamed", "unrelated"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that may be asked of a country, with a text as answer.

    ``phrase`` is what is asked for, with ``{c}`` for the country; ``states`` is the sentence that tells it.
    ``values`` reads the true answers out of the field's text (the first is the one to ask for if ``single``).
    ``falsity`` tells when another value is surely wrong for a country: if it is an other one than its own,
    if the field's text does not name it, or if no word of it resembles a word of the field's text.
    """

    key: str
    path: str
    phrase: str
    states: str
    values: Callable[[str], list[str]]
    falsity: Falsity = "other"
    label: str = ""  # for "Do A and B have the same ...?"
    roles: str = ""  # for "Do the ... of both A and B include V?"


def _before_note(text: str) -> str:
    return re.split(r"; | \(", text, maxsplit=1)[0].strip()


def _one_capital(text: str) -> list[str]:
    return [] if ";" in text or "," in text or "official" in text or " in " in text else [_before_note(text)]


def _one_code(text: str) -> list[str]:
    return [text] if re.fullmatch(r"\.[a-z]{2}", text) else []


def _short(text: str) -> list[str]:
    return [text] if re.fullmatch(r"[A-Z0-9]{1,3}", text) else []


def _currency(text: str) -> list[str]:
    match = re.match(r"([^()]+) \([A-Z]{3}\)", text)
    return [match[1]] if match else []


def _peak(text: str) -> list[str]:
    name = re.split(r" \(| -?\d| on the | between ", text, maxsplit=1)[0].strip(" ,")
    return [name] if 3 < len(name) < 30 and name[0].isupper() else []


def _official(text: str) -> list[str]:
    found = []
    for item in re.split(r"[,;] (?![^(]*\))", text):
        match = re.match(r"([A-Z][A-Za-z]+(?: [A-Z][a-z]+)?)(?: [\d.]+%)? \(official", item)
        if match:
            found.append(match[1])
    return found


_NOT_A_NAME = ("and ", "including ", "includes ", "some ", "other ", "possibly ", "small ", "none", "unspec")


def _items(text: str) -> list[str]:
    body = re.sub(r"\([^)]*\)", "", text)
    items = [item.strip() for item in re.split(r"[,;]", body)]
    return [
        item
        for item in items
        if re.fullmatch(r"[a-z][a-z /-]{2,28}", item) and not item.startswith(_NOT_A_NAME)
    ]


def _top_partner(text: str) -> list[str]:
    shares = re.findall(r"([A-Z][A-Za-z.&' -]+?) ([\d.]+)%", text)
    if "United" in text:  # the book mostly writes USA, UK and UAE: the same partner under two names misleads
        return []
    if len(shares) < 2 or float(shares[0][1]) <= float(shares[1][1]):
        return []
    return [shares[0][0]]


def _climate(text: str) -> list[str]:
    match = re.match(
        r"(tropical|temperate|desert|continental|Mediterranean|subtropical|arid|semiarid)\b", text
    )
    return [match[1]] if match else []


def _religion(text: str) -> list[str]:
    body = re.sub(r"\([^)]*\)", "", text)
    shares = [(name.strip(), float(share)) for name, share in re.findall(r"([A-Za-z' -]+?) ([\d.]+)%", body)]
    if not shares or (len(shares) > 1 and shares[0][1] <= max(share for _, share in shares[1:])):
        return []
    known = {"Roman Catholic", "Muslim", "Protestant", "Buddhist", "Hindu", "Orthodox", "Eastern Orthodox"}
    return [shares[0][0]] if shares[0][0] in known else []


def _government(text: str) -> list[str]:
    plain = _before_note(text)  # "federal republic (formally a confederation)"
    return [plain] if len(plain) < 45 and ";" not in text and "," not in text else []


def _region(text: str) -> list[str]:
    return [text] if re.fullmatch(r"[A-Z][a-z]+(?: [A-Za-z][a-z]+)*", text) else []


def _symbol(text: str) -> list[str]:
    first = _before_note(re.split(r",|;", text, maxsplit=1)[0])
    return [first] if 3 < len(first) < 30 and "national" not in text else []


def _ruler(text: str) -> list[str]:
    found = re.findall(r"\(from (the UK|the US|[A-Z][a-z]+)\)", text)
    return found if len(found) == 1 and ";" not in text else []


def _people_name(text: str) -> list[str]:
    match = re.fullmatch(r"([A-Z][A-Za-z' -]+)\(s\)", text)
    return [match[1] + "(s)"] if match else []


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("capital", "Government|Capital|name", "the capital of {c}", "The capital of {c} is {v}.", _one_capital),
    Attribute("internet-code", "Communications|Internet country code", "the internet country code of {c}",
              "The internet country code of {c} is {v}.", _one_code),
    Attribute("aircraft-prefix", "Transportation|Civil aircraft registration country code prefix",
              "the civil aircraft registration prefix of {c}",
              "The civil aircraft registration prefix of {c} is {v}.", _short),
    Attribute("highest-point", "Geography|Elevation|highest point", "the highest point of {c}",
              "The highest point of {c} is {v}.", _peak),
    Attribute("currency", "Economy|Exchange rates|Currency", "the currency of {c}", "The currency of {c} is {v}.",
              _currency, label="currency"),
    Attribute("language", f"{_PEOPLE}|Languages", "one of the official languages of {c}",
              "The official languages of {c} include {v}.", _official, "unnamed", roles="official languages"),
    Attribute("religion", f"{_PEOPLE}|Religions", "the largest of the religions of {c}",
              "The largest of the religions of {c} is {v}.", _religion, label="largest religion"),
    Attribute("climate", "Geography|Climate", "the climate of {c}",
              "The climate of {c} is described as {v}.", _climate, "unnamed"),
    Attribute("region", "Geography|Map references", "the region under which {c} is found on maps",
              "On maps, {c} is found under the region {v}.", _region, "unnamed", label="map region"),
    Attribute("government", "Government|Government type", "the government type of {c}",
              "The government type of {c} is {v}.", _government, "unnamed", label="government type"),
    Attribute("symbol", "Government|National symbol(s)", "a national symbol of {c}",
              "The national symbol of {c} is the {v}.", _symbol, "unrelated"),
    Attribute("ruler", "Government|Independence", "the country that {c} gained independence from",
              "{C} gained independence from {v}.", _ruler, label="former ruling country"),
    Attribute("people", f"{_PEOPLE}|Nationality|noun", "the name for people from {c}",
              "People from {c} are called {v}.", _people_name),
    Attribute("export-partner", "Economy|Exports - partners",
              "the largest of the main export partners of {c}",
              "The largest export partner of {c} is {v}.", _top_partner, label="largest export partner"),
    Attribute("import-partner", "Economy|Imports - partners",
              "the largest of the main import partners of {c}",
              "The largest import partner of {c} is {v}.", _top_partner, label="largest import partner"),
    Attribute("export-goods", "Economy|Exports - commodities", "one of the main export commodities of {c}",
              "The main export commodities of {c} include {v}.", _items, "unrelated", roles="main export commodities"),
    Attribute("import-goods", "Economy|Imports - commodities", "one of the main import commodities of {c}",
              "The main import commodities of {c} include {v}.", _items, "unrelated", roles="main import commodities"),
    Attribute("farm-products", "Economy|Agricultural products", "one of the main agricultural products of {c}",
              "The main agricultural products of {c} include {v}.", _items, "unrelated",
              roles="main agricultural products"),
    Attribute("industries", "Economy|Industries", "one of the industries of {c}",
              "The industries of {c} include {v}.", _items, "unrelated", roles="listed industries"),
    Attribute("resources", "Geography|Natural resources", "one of the natural resources of {c}",
              "The natural resources of {c} include {v}.", _items, "unrelated", roles="natural resources"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One country's figure in one field; ``figure`` is the text with its unit, as in the passage."""

    value: float
    plain: str
    figure: str
    passage_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One country's true answers for one attribute, each with the passage that holds it word for word."""

    values: tuple[str, ...]
    passage_ids: tuple[str, ...]
    text: str

    def passage_of(self, value: str) -> str:
        """The passage that states ``value``; the field's first passage if it is not a true one."""
        return self.passage_ids[self.values.index(value)] if value in self.values else self.passage_ids[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Country:
    """A country that questions can be about."""

    entry: Entry
    numbers: dict[str, Number]
    answers: dict[str, Answers]
    tables: dict[str, tuple[tuple[str, Number], ...]]  # borders, exports, imports: (partner, figure)

    @property
    def code(self) -> str:
        """The entry's two-letter code in the book."""
        return self.entry.code

    @property
    def name(self) -> str:
        """The name as a title or an option."""
        return self.entry.name

    @property
    def phrase(self) -> str:
        """The name as it stands in a sentence."""
        return self.entry.in_sentence


@lru_cache(maxsize=1)
def countries() -> tuple[Country, ...]:
    """Every independent country with a capital and a population, in order of its code."""
    return tuple(
        _country(entry)
        for entry in load_entries()
        if "Government|Dependency status" not in entry.leaves
        and "Government|Capital|name" in entry.leaves
        and f"{_PEOPLE}|Population|total" in entry.leaves
        and entry.code != "ee"
    )


def _country(entry: Entry) -> Country:
    numbers = {}
    for numeric in NUMERIC_FIELDS:
        number = _number(entry, numeric)
        if number is not None:
            numbers[numeric.key] = number
    answers = {}
    for attribute in ATTRIBUTES:
        text = entry.leaves.get(attribute.path, "")
        stated = [
            (value, library().find(entry.code, attribute.path, value)) for value in attribute.values(text)
        ]
        found = [(value, passage.passage_id) for value, passage in stated if passage is not None]
        if found:
            answers[attribute.key] = Answers(
                values=tuple(value for value, _ in found),
                passage_ids=tuple(place for _, place in found),
                text=text,
            )
    tables = {table: _table(entry, *where) for table, where in _TABLES.items()}
    return Country(entry=entry, numbers=numbers, answers=answers, tables=tables)


def _number(entry: Entry, field: NumericField) -> Number | None:
    text = entry.leaves.get(field.path, "")
    start = r".*?(?<![\d,.])" if field.key == "elevation" else ""
    match = re.match(
        rf"{start}({re.escape(field.prefix)}(\d[\d,]*(?:\.\d+)?){re.escape(field.unit)})(?![\w%,.])", text
    )
    if match is None:
        return None
    passage = library().find(entry.code, field.path, match[1])
    value = float(match[2].replace(",", ""))
    if passage is None or value <= 0:
        return None
    return Number(value=value, plain=match[2], figure=match[1], passage_id=passage.passage_id)


_TABLES = {
    "borders": (
        "Geography|Land boundaries|border countries",
        r"(?:^|; )([A-Z][^;\d(]+?) (\d[\d,.]*) km(?=;|$)",
        " km",
    ),
    "exports": ("Economy|Exports - partners", r"(?:^|, )([A-Z][^,\d(]+?) (\d[\d.]*)%(?=,| |$)", "%"),
    "imports": ("Economy|Imports - partners", r"(?:^|, )([A-Z][^,\d(]+?) (\d[\d.]*)%(?=,| |$)", "%"),
}


def _table(entry: Entry, path: str, pattern: str, unit: str) -> tuple[tuple[str, Number], ...]:
    """The (partner, figure) pairs that one field lists."""
    rows = []
    for name, plain in re.findall(pattern, entry.leaves.get(path, "")):
        passage = library().find(entry.code, path, f"{name} {plain}{unit}")
        value = float(plain.replace(",", ""))
        if passage is not None and value > 0:
            number = Number(value=value, plain=plain, figure=f"{plain}{unit}", passage_id=passage.passage_id)
            rows.append((name, number))
    return tuple(rows)


def stems(text: str) -> set[str]:
    """The first five letters of each word of four letters or more, in lower case."""
    return {word[:5] for word in re.findall(r"[a-z]{3,}", text.lower())} - {"and", "other", "produ", "the"}


def is_false(attribute: Attribute, value: str, answers: Answers) -> bool:
    """Whether ``value`` is surely not a true answer of the country whose answers these are."""
    if value in answers.values:
        return False
    if attribute.falsity == "other":
        return True
    if attribute.falsity == "unnamed":
        return value.lower() not in answers.text.lower() and answers.values[0].lower() not in value.lower()
    return not stems(value) & stems(answers.text)


def gives_away(name: str, text: str) -> bool:
    """Whether a word of ``text`` begins like a word of ``name`` ("Chilean pesos" for "Chile")."""
    starts = {word[:4] for word in re.findall(r"[a-z]{4,}", name.lower())} - {"isla", "repu", "unit", "sain"}
    return any(word[:4] in starts for word in re.findall(r"[a-z]{4,}", text.lower()))
