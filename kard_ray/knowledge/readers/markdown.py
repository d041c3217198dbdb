"""The parts of a plain-text or Markdown page: front matter, title and text."""

from __future__ import annotations

import posixpath
import re
from typing import Any

import yaml

from kard_ray.knowledge.readers.fields import read_date

_MAX_FRONT_MATTER = 64 << 10  # characters; what is longer is text
_MAX_HEADING = 500  # characters of a heading's line
_MAX_TITLE = 120  # characters of a first line that may be a title
_FRONT_MATTER = re.compile(
    r"---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(?P<title>.*?)[ \t]*(?:[ \t]#+[ \t]*)?")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*")
_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})")


def read_page(page: str, name: str) -> dict[str, Any]:
    """``title``, ``text``, ``date`` and ``language`` of a page; ``name`` is its file's.

    A heading or first line that became the title is taken out of the text if it stands at its beginning
    and something follows. Front matter that is no YAML mapping is text.
    """
    page = page.replace("\r\n", "\n").replace("\r", "\n")
    given, text = _front_matter(page)
    stem, suffix = posixpath.splitext(posixpath.basename(name))
    found, rest = _heading(text) if suffix.lower() != ".txt" else ("", text)
    if not found and not given.get("title"):
        found, rest = _first_line(text)
    title = given.get("title") or found
    # Only the line that became the title leaves the text.
    if title != found or not rest.strip():
        rest = text
    return {**given, "title": title or stem, "text": rest.strip("\n")}


def _front_matter(page: str) -> tuple[dict[str, Any], str]:
    match = _FRONT_MATTER.match(page[:_MAX_FRONT_MATTER])
    if match is None:
        return {"date": None, "language": None}, page
    try:
        tree = yaml.safe_load(match["yaml"])
    # PyYAML also raises plain Python errors, such as KeyError for "!!bool x".
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ):
        tree = None
    if not isinstance(tree, dict):
        return {"date": None, "language": None}, page
    title, language = tree.get("title"), tree.get("language", tree.get("lang"))
    given = {
        "title": " ".join(title.split()) if isinstance(title, str) else None,
        "date": read_date(tree.get("date")),
        "language": language if isinstance(language, str) else None,
    }
    return given, page[match.end() :]


def _heading(text: str) -> tuple[str, str]:
    """The first heading, and the text without it if it stands first; ("", text) if there is none."""
    lines = text.split("\n")
    fence = ""
    for at, line in enumerate(lines):
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark["mark"]
            elif line.strip().startswith(fence):
                fence = ""
            continue
        if fence or not line.strip() or len(line) > _MAX_HEADING:
            continue
        height = 1
        title = ""
        if match := _HEADING.fullmatch(line):
            title = match["title"]
        elif _UNDERLINE.fullmatch("".join(lines[at + 1 : at + 2])) and _starts_paragraph(lines, at):
            title, height = line.strip(), 2
        if title:
            first = not any(before.strip() for before in lines[:at])
            return title, "\n".join(lines[at + height :]) if first else text
    return "", text


def _starts_paragraph(lines: list[str], at: int) -> bool:
    return at == 0 or not lines[at - 1].strip()


def _first_line(text: str) -> tuple[str, str]:
    """The first line and the text after it, if it is short and another follows; else ("", text)."""
    line, _, rest = text.lstrip().partition("\n")
    named = any(character.isalnum() for character in line)
    if not named or len(line.strip()) > _MAX_TITLE or not rest.strip():
        return "", text
    return line.strip(), rest
