"""The plots of a sweep; one without data is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kard_ray.comparison import charts
from kard_ray.comparison.markup import figure
from kard_ray.comparison.svg import Plane, drawing, rule, words
from kard_ray.tuning.config import Distribution, scalar_text
from kard_ray.tuning.results import Results
from kard_ray.tuning.tables import score_text, short_names

Trial = Mapping[str, Any]

# Colours of the page: finished, the best, stopped early.
_FINISHED, _BEST, _STOPPED = 0, 1, 7
_LEGEND = [("finished", _FINISHED), ("the best", _BEST), ("stopped early", _STOPPED)]


def all_figures(results: Results, space: Mapping[str, Distribution]) -> list[str]:
    """The figures as HTML, in the order of the page."""
    scored = [trial for trial in results["trials"] if trial["score"] is not None]
    if not scored:
        return []
    return [
        *_parallel(results, scored, space),
        *_best_so_far(results, scored),
        *_learning(results),
        *_importance(results),
    ]


def _colour(results: Results, trial: Trial) -> int:
    if trial["number"] == results["best"]:
        return _BEST
    return _FINISHED if trial["state"] == "finished" else _STOPPED


def _names(results: Results, trials: Sequence[Trial]) -> str:
    shown = {_colour(results, trial) for trial in trials}
    return charts.legend([(name, colour) for name, colour in _LEGEND if colour in shown])


def _drawn_last(results: Results, trials: Sequence[Trial]) -> list[Trial]:
    """The best one over the finished ones over the others."""
    return sorted(trials, key=lambda trial: (_STOPPED, _FINISHED, _BEST).index(_colour(results, trial)))


def _parallel(results: Results, trials: Sequence[Trial], space: Mapping[str, Distribution]) -> list[str]:
    """One axis for each field and one for the metric, best scores on top; a trial is a line across them."""
    width, height, top, floor, left, right = 880, 330, 50, 314, 36, 60
    names = [*space, results["metric"]]
    short = short_names(space)
    apart = (width - left - right) / (len(names) - 1)
    scores = [trial["score"] for trial in trials]
    worst, best = (min(scores), max(scores)) if results["mode"] == "max" else (max(scores), min(scores))
    parts = [rule(left + at * apart, top, left + at * apart, floor, "axis") for at in range(len(names))]
    for trial in _drawn_last(results, trials):
        shares = [_share(space[name], trials, name, trial["values"][name]) for name in space]
        shares.append((trial["score"] - worst) / (best - worst) if best != worst else 0.5)
        path = " ".join(
            f"{left + at * apart:.1f},{floor - share * (floor - top):.1f}" for at, share in enumerate(shares)
        )
        colour = _colour(results, trial)
        faint = ' stroke-opacity="0.45"' if colour == _STOPPED else ""
        parts.append(
            f"<g><title>{escape(_told(results, trial))}</title>"
            f'<polyline points="{path}" class="line" style="stroke:var(--c{colour})"{faint}/></g>'
        )
    for at, name in enumerate(names):
        x = left + at * apart
        side = "" if at == 0 else " mid"
        head = words(x if side else 4, 14 + 16 * (at % 2), short.get(name, name), f"name{side}")
        parts.append(f"<g><title>{escape(name)}</title>{head}</g>")
        ends = [(0.0, score_text(worst)), (1.0, score_text(best))]
        for share, text in ends if at == len(space) else _ticks(space[name], trials, name):
            y = floor - share * (floor - top)
            parts.append(rule(x - 3, y, x + 3, y, "axis"))
            parts.append(words(x + 6, y + 4, text, "tick halo"))
    told = "Each line is a trial, through its values to what it reached. Rest on a line to read them."
    chart = drawing(parts, height, "Values and score of each trial", width=width)
    chart = f'<div class="scroll"><div style="min-width:44rem">{chart}</div></div>'
    return [figure("Values and what they gave", chart + _names(results, trials), told, wide=True)]


def _told(results: Results, trial: Trial) -> str:
    values = ", ".join(f"{name} {scalar_text(value)}" for name, value in trial["values"].items())
    return f"trial {trial['number']}, {trial['state']}: {results['metric']} {score_text(trial['score'])}; {values}"


def _scale(values: Distribution, trials: Sequence[Trial], name: str) -> tuple[list[Any], bool]:
    """The ends of an axis, or all of its values; and whether these are all. The recipe's own may lie outside."""
    seen = [trial["values"][name] for trial in trials]
    if values.choice is not None:
        extra = [value for value in seen if not values.holds(value)]
        return [*values.choice, *dict.fromkeys(extra)], True
    numbers = [value for value in seen if isinstance(value, int | float)]
    if len(numbers) < len(seen):  # null, where the recipe has no number
        return list(dict.fromkeys(sorted(seen, key=str))), True
    ends = [value for value in values.probes() if isinstance(value, int | float)]
    return [min(ends + numbers), max(ends + numbers)], False


def _share(values: Distribution, trials: Sequence[Trial], name: str, value: Any) -> float:
    """Where ``value`` is on its axis, 0 to 1."""
    scale, whole = _scale(values, trials, name)
    if whole:
        return scale.index(value) / (len(scale) - 1) if len(scale) > 1 else 0.5
    low, high = scale
    if values.log_uniform is not None and low > 0:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _ticks(values: Distribution, trials: Sequence[Trial], name: str) -> list[tuple[float, str]]:
    scale, _ = _scale(values, trials, name)
    return [(_share(values, trials, name, value), scalar_text(value)) for value in scale]


def _best_so_far(results: Results, trials: Sequence[Trial]) -> list[str]:
    """Trials in the order in which they ended, and the best finished one until then."""
    ended = sorted((t for t in trials if t["ended"]), key=lambda trial: (trial["ended"], trial["number"]))
    if not ended:
        return []
    better = max if results["mode"] == "max" else min
    best: float | None = None
    steps: list[tuple[float, float]] = []
    for at, trial in enumerate(ended, start=1):
        if trial["state"] == "finished":
            score = float(trial["score"])
            if best is not None and steps:
                steps.append((at, best))
            best = score if best is None else better(best, score)
        if best is not None:
            steps.append((at, best))
    scores = [trial["score"] for trial in ended]
    low, high = charts.widened(min(scores), max(scores), -math.inf, math.inf)
    plane = Plane((0.5, len(ended) + 0.5), (low, high))
    ticks = [tick for tick in charts.nice_ticks(1, max(2, len(ended))) if tick == round(tick) <= len(ended)]
    plane.axes(
        ticks, charts.nice_ticks(low, high), x_name="trials", y_name=results["metric"],
        x_text=lambda value: f"{value:.0f}", y_text=score_text,
    )  # fmt: skip
    path = " ".join(f"{plane.x(x):.1f},{plane.y(y):.1f}" for x, y in steps)
    plane.parts.append(f'<polyline points="{path}" class="line" style="stroke:var(--c{_BEST})"/>')
    for at, trial in enumerate(ended, start=1):
        colour = f"var(--c{_colour(results, trial)})"
        plane.parts.append(
            f'<circle cx="{plane.x(at):.1f}" cy="{plane.y(trial["score"]):.1f}" r="4.5" style="fill:{colour}">'
            f"<title>{escape(_told(results, trial))}</title></circle>"
        )
    told = "A point is a trial, in the order in which they ended; the line is the best finished one by then."
    body = drawing(plane.parts, plane.height, "Score of each trial") + _names(results, ended)
    return [figure("The search", body, told)]


def _learning(results: Results) -> list[str]:
    """The metric over the epochs of each trial."""
    shown = [trial for trial in results["trials"] if any(p["value"] is not None for p in trial["points"])]
    if not shown:
        return []
    series = [
        charts.Line(
            f"trial {trial['number']}",
            [(p["epochs"], p["value"]) for p in trial["points"] if p["value"] is not None],
            _colour(results, trial),
            marks=True,
        )
        for trial in _drawn_last(results, shown)
    ]
    chart = charts.lines(
        series, title="The metric during training", x_name="epochs", y_name=results["metric"],
        x_text=lambda value: f"{value:.3g}", y_text=score_text, x_whole=False,
    )  # fmt: skip
    told = "What each trial's model reached on held-out training questions while it was trained."
    return [figure("Learning", chart + _names(results, shown), told)]


def _importance(results: Results) -> list[str]:
    if not results["importance"]:
        return []
    short = short_names(results["space"])
    bars = [charts.Bar(short[name], share, share, share, 0) for name, share in results["importance"].items()]
    told = (
        "How much a field's values tell the best trials from all of them (PED-ANOVA), as shares. Trials that were "
        "stopped early count with what they had by then. Of few trials this is a hint, no proof."
    )
    return [figure("What mattered", charts.bars(bars, title="Importance of each field"), told)]
