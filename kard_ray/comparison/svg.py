"""What plots are drawn with: lines, texts and a plane with two axes, as inline SVG. Every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 560  # units of a drawing; it scales with its column
COLOURS = 12  # variables --c0 to --c11 of the page
CHARACTER = 6.9  # mean width of a character of a label, in units
_DASHES = ("", "6 3", "2 3")  # lines beyond COLOURS


@dataclass(slots=True)
class Plane:
    """The area of a chart with two axes; ``x`` and ``y`` give units on the page."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_x: bool = False
    height: int = 320
    left: int = 60
    right: int = 24
    top: int = 12
    bottom: int = 42
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Where ``value`` is on the page, from the left."""
        low, high = self.x_range
        if self.log_x:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.left + (value - low) / (high - low) * (WIDTH - self.left - self.right)

    def y(self, value: float) -> float:
        """Where ``value`` is on the page, from the top."""
        low, high = self.y_range
        return (
            self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)
        )

    def axes(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        *,
        x_name: str,
        y_name: str,
        x_text: Callable[[float], str],
        y_text: Callable[[float], str],
    ) -> None:
        """Grid lines, ticks and names."""
        floor = self.height - self.bottom
        for tick in y_ticks:
            at = self.y(tick)
            self.parts.append(rule(self.left, at, WIDTH - self.right, at, "grid"))
            self.parts.append(words(self.left - 7, at + 4, y_text(tick), "tick end"))
        for tick in x_ticks:
            at = self.x(tick)
            self.parts.append(rule(at, floor, at, floor + 4, "axis"))
            self.parts.append(words(at, floor + 17, x_text(tick), "tick mid"))
        self.parts.append(rule(self.left, floor, WIDTH - self.right, floor, "axis"))
        middle = (self.left + WIDTH - self.right) / 2
        self.parts.append(words(middle, self.height - 5, x_name, "name mid"))
        turn = f' transform="rotate(-90 13 {(self.top + floor) / 2:.1f})"'
        self.parts.append(words(13, (self.top + floor) / 2, y_name, "name mid", turn))


def dash(colour: int) -> str:
    """How the line of ``colour`` is dashed: colours beyond COLOURS are the first ones again."""
    return _DASHES[(colour // COLOURS) % len(_DASHES)]


def label_width(labels: Iterable[str]) -> int:
    """Room left of a chart for ``labels``, in units."""
    longest = max((len(label) for label in labels), default=0)
    return min(230, max(60, round(longest * CHARACTER) + 14))


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line; ``kind`` is its class in the page's style."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def words(x: float, y: float, text: str, kind: str, more: str = "") -> str:
    """A text on the base line ``y``; ``more`` are other attributes, written as they are."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}"{more}>{escape(text)}</text>'


def drawing(parts: Sequence[str], height: float, title: str, *, width: float = WIDTH) -> str:
    """The whole chart; ``title`` is read aloud in its place."""
    return (
        f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
