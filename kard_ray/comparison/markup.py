"""What reports are made of: a whole page that loads nothing, tables, figures.

``body``, ``lines`` and ``values`` are HTML already; titles, captions and heads are texts, escaped here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files


def document(title: str, body: Sequence[str], *, script: str | None = None) -> str:
    """One HTML file; a content security policy allows ``script``, by its hash, and no other."""
    allowed = ""
    if script is not None:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = f" script-src 'sha256-{digest}';"
    policy = f"default-src 'none'; style-src 'unsafe-inline';{allowed} base-uri 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{shipped('report.css')}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def table(head: Sequence[str], lines: Sequence[str], *, left: int = 1) -> str:
    """A table of :func:`table_row` lines; its first ``left`` columns are texts."""
    names = "".join(
        f"<th{' class=left' if at < left else ''}>{escape(name)}</th>" for at, name in enumerate(head)
    )
    body = "".join(lines)
    return (
        f'<div class="panel scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def table_row(values: Sequence[str], *, left: int = 1, best: Sequence[bool] = (), kind: str = "") -> str:
    """One line of a table; ``best`` marks values, ``kind`` is the line's class."""
    marked = [
        f' class="{"left" if at < left else "best" if at < len(best) and best[at] else ""}"'
        for at in range(len(values))
    ]
    cells = "".join(f"<td{mark}>{value}</td>" for mark, value in zip(marked, values, strict=True))
    return f"<tr{f' class={kind}' if kind else ''}>{cells}</tr>"


def figure(title: str, body: str, caption: str, *, wide: bool = False) -> str:
    """A plot with its title and what it shows."""
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}><h3>{escape(title)}</h3>{body}<figcaption>{escape(caption)}</figcaption></figure>"


def shipped(name: str) -> str:
    """A file that comes with this package."""
    return files("kard_ray.comparison").joinpath(name).read_text(encoding="utf-8")
