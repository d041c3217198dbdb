"""Plots as inline SVG: bars with intervals, points on a logarithmic axis, lines, divided bars.

Colours are the page's variables ``--c0`` to ``--c11``, so that one drawing fits light and dark. Every text is escaped.
A chart is 560 units wide and scales with its column: text stays readable on a phone. Shares go from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from kard_ray.comparison.svg import (
    CHARACTER,
    COLOURS,
    WIDTH,
    Plane,
    dash,
    drawing,
    label_width,
    rule,
    words,
)

_FAR = 8  # units between a point and its label beyond which a line joins them


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar chart."""

    label: str
    value: float
    low: float
    high: float
    colour: int = 0
    note: str = ""  # told when the pointer rests on it
    faint: bool = False  # an upper bound, not a result


@dataclass(frozen=True, slots=True)
class Point:
    """One point with its vertical interval; ``x`` is positive."""

    label: str
    x: float
    y: float
    low: float
    high: float
    colour: int = 0
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line through ``points`` of (x, y); ``marks`` shows them."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Divided:
    """One row of a chart of divided bars: counts in the order of the parts' names."""

    label: str
    counts: Sequence[float]


def bars(rows: Sequence[Bar], *, title: str, mark: float | None = None) -> str:
    """Horizontal bars from 0 to 100 % with whiskers; ``mark`` is a dashed line, such as chance."""
    row, top = 26, 6
    left = label_width(bar.label for bar in rows)
    height = top + row * len(rows) + 24
    floor = height - 22
    ceiling = min(1.0, max(0.05, mark or 0.0, *(bar.high for bar in rows)) * 1.06)
    ticks = nice_ticks(0.0, ceiling)
    room = WIDTH - left - 58

    def at(value: float) -> float:
        return left + value / ceiling * room

    parts = [rule(at(tick), top, at(tick), floor, "grid") for tick in ticks]
    parts += [words(at(tick), floor + 15, percent(tick), "tick mid") for tick in ticks]
    for number, bar in enumerate(rows):
        y = top + row * number
        middle = y + row / 2
        faint = ' fill-opacity="0.35"' if bar.faint else ""
        told = bar.note or f"{bar.label}: {percent(bar.value, 1)}"
        parts.append(
            f"<g><title>{escape(told)}</title>"
            + words(left - 8, middle + 4, bar.label, "label end")
            + f'<rect x="{left}" y="{y + 5}" width="{max(0.0, at(bar.value) - left):.1f}" height="{row - 10}" rx="2" '
            f'style="fill:var(--c{bar.colour % COLOURS})"{faint}/>'
            + rule(at(bar.low), middle, at(bar.high), middle, "whisker")
            + rule(at(bar.low), middle - 4, at(bar.low), middle + 4, "whisker")
            + rule(at(bar.high), middle - 4, at(bar.high), middle + 4, "whisker")
            + words(at(max(bar.high, bar.value)) + 6, middle + 4, percent(bar.value, 1), "value")
            + "</g>"
        )
    if mark is not None:
        parts.append(rule(at(mark), top, at(mark), floor, "mark"))
    return drawing(parts, height, title)


def scatter(
    points: Sequence[Point], *, title: str, x_name: str, y_name: str, x_text: Callable[[float], str]
) -> str:
    """Points with intervals; the horizontal axis is logarithmic."""
    x_low, x_high = min(p.x for p in points), max(p.x for p in points)
    y_low, y_high = widened(min(p.low for p in points), max(p.high for p in points), 0.0, 1.0)
    plane = Plane((x_low / 1.5, x_high * 1.5), (y_low, y_high), log_x=True, height=360)
    plane.axes(
        log_ticks(*plane.x_range), nice_ticks(y_low, y_high),
        x_name=x_name, y_name=y_name, x_text=x_text, y_text=percent,
    )  # fmt: skip
    taken = [(plane.x(p.x) - 6, plane.y(p.y) - 6, plane.x(p.x) + 6, plane.y(p.y) + 6) for p in points]
    for point in points:
        x, y = plane.x(point.x), plane.y(point.y)
        colour = f"var(--c{point.colour % COLOURS})"
        inside = f"stroke:{colour};fill:{'var(--surface)' if point.faint else colour}"
        told = f"{point.label}: {percent(point.y, 1)} at {x_text(point.x)}"
        plane.parts.append(
            f"<g><title>{escape(told)}</title>"
            f'<line x1="{x:.1f}" y1="{plane.y(point.low):.1f}" x2="{x:.1f}" y2="{plane.y(point.high):.1f}" '
            f'style="stroke:{colour}" class="interval"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" style="{inside}"/></g>'
        )
    for point in points:  # after all points, so that no interval is drawn over a label
        x, y = plane.x(point.x), plane.y(point.y)
        floor = plane.height - plane.bottom
        left, base, kind = _free_place(x, y, len(point.label) * CHARACTER, floor, taken)
        if abs(base - y) > _FAR:
            plane.parts.append(rule(x, y, left - 3 if left > x else left + 3, base - 4, "leader"))
        plane.parts.append(words(left, base, point.label, f"label halo {kind}"))
    return drawing(plane.parts, plane.height, title)


def _free_place(
    x: float, y: float, width: float, floor: float, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float, str]:
    """Where a label of ``width`` hides no point and no label, as near (x, y) as can be; the first place if nowhere."""
    places = []
    for step in range(11):
        for drop in (4 + 13 * step, 4 - 13 * step):
            places += [(x + 9, y + drop, "", x + 9), (x - 9, y + drop, "end", x - 9 - width)]
    fitting = [p for p in places if p[3] > 50 and p[3] + width < WIDTH - 4 and 12 < p[1] < floor]
    inside = fitting or places
    for left, base, kind, start in inside:
        box = (start, base - 10, start + width, base + 2)
        if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            taken.append(box)
            return left, base, kind
    return inside[0][0], inside[0][1], inside[0][2]


def lines(
    series: Sequence[Line],
    *,
    title: str,
    x_name: str,
    y_name: str,
    y_text: Callable[[float], str],
    x_text: Callable[[float], str] = lambda value: f"{value:,.0f}",
    y_bounds: tuple[float, float] = (-math.inf, math.inf),
    x_whole: bool = True,
) -> str:
    """Lines over a common axis; see :func:`legend` for their names."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    low, high = widened(min(ys), max(ys), *y_bounds)
    x_low, x_high = min(xs), max(xs)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    plane = Plane((x_low, x_high), (low, high))
    ticks = nice_ticks(x_low, x_high)
    if x_whole:
        ticks = [tick for tick in ticks if tick == round(tick)]
    plane.axes(ticks, nice_ticks(low, high), x_name=x_name, y_name=y_name, x_text=x_text, y_text=y_text)
    for line in series:
        colour = f"var(--c{line.colour % COLOURS})"
        path = " ".join(f"{plane.x(x):.1f},{plane.y(y):.1f}" for x, y in line.points)
        dots = "".join(
            f'<circle cx="{plane.x(x):.1f}" cy="{plane.y(y):.1f}" r="3.5" style="fill:{colour}">'
            f"<title>{escape(f'{line.label}: {x_text(x)}, {y_text(y)}')}</title></circle>"
            for x, y in (line.points if line.marks else ())
        )
        plane.parts.append(
            f"<g><title>{escape(line.label)}</title>"
            f'<polyline points="{path}" class="line" style="stroke:{colour}" '
            f'stroke-dasharray="{dash(line.colour)}"/>{dots}</g>'
        )
    return drawing(plane.parts, plane.height, title)


def divided(
    rows: Sequence[Divided], names: Sequence[str], *, title: str, shares: bool = True,
    text: Callable[[float], str] = lambda value: f"{value:,.0f}",
) -> str:  # fmt: skip
    """Horizontal bars divided into parts, numbers in them.

    With ``shares`` all bars are of one length, else each is as long as its sum.
    """
    row, top = 30, 4
    left = label_width(bar.label for bar in rows)
    room = WIDTH - left - 8
    parts = []
    for number, bar in enumerate(rows):
        y, x = top + row * number, float(left)
        total = sum(bar.counts) or 1.0
        whole = total if shares else max(sum(other.counts) for other in rows) or 1.0
        parts.append(words(left - 8, y + row / 2 + 4, bar.label, "label end"))
        for part, (name, count) in enumerate(zip(names, bar.counts, strict=True)):
            width = count / whole * room
            told = f"{bar.label}, {name}: {text(count)} of {text(total)}"
            inside = (
                words(x + width / 2, y + row / 2 + 4, text(count), "inside mid")
                if width > 8 + 7 * len(text(count))
                else ""
            )
            parts.append(
                f"<g><title>{escape(told)}</title>"
                f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{row - 8}" class="p{part}"/>{inside}</g>'
            )
            x += width
    return drawing(parts, top * 2 + row * len(rows), title)


def legend(names: Sequence[tuple[str, int]], *, parts: bool = False) -> str:
    """Names beside their colours: of lines, or of the parts of divided bars."""
    items = []
    for name, colour in names:
        swatch = (
            f'<rect width="22" height="10" class="p{colour}"/>'
            if parts
            else f'<line x1="0" y1="5" x2="22" y2="5" class="line" style="stroke:var(--c{colour % COLOURS})" '
            f'stroke-dasharray="{dash(colour)}"/>'
        )
        items.append(f'<li><svg width="22" height="10" aria-hidden="true">{swatch}</svg>{escape(name)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


# -- numbers ---------------------------------------------------------------------------------------------------------


def percent(value: float, digits: int = 0) -> str:
    """0.5 as "50 %"."""
    return f"{100 * value:.{digits}f} %"


def flops_text(value: float) -> str:
    """FLOPs with a prefix: 1.2e10 as "12 G"."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """About ``about`` round numbers from ``low`` to ``high`` (1, 2 or 5 times a power of ten apart)."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [
        round(at * step, 12) for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from ``low`` to ``high``, with 2 and 5 times them when there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks
    return ticks or [low]


def widened(low: float, high: float, least: float, most: float) -> tuple[float, float]:
    """The range with a margin of 8 %, inside its bounds; never empty."""
    margin = (high - low) * 0.08 or 0.05 * max(1.0, abs(high))
    return max(least, low - margin), min(most, high + margin)
