"""A sweep's results as one HTML file that loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from kard_ray.comparison.markup import document, table, table_row
from kard_ray.tuning import tables
from kard_ray.tuning.config import Distribution
from kard_ray.tuning.plots import all_figures
from kard_ray.tuning.results import Results

_ORDER = (
    "The best first. Scores of trials that were stopped early are those when they were stopped; only finished trials "
    "can be the best."
)


def page(results: Results, space: Mapping[str, Distribution]) -> str:
    """report.html: ``results`` as in trials.json."""
    plots = all_figures(results, space)
    title = f"{results['recipe']}: sweep of {results['target']}"
    body = [
        f"<header><h1>{escape(title)}</h1><p class='soft'>{escape(tables.summary(results))}</p></header>",
        "<main>",
        _failed(results),
        "<h2>Fields</h2>",
        _table(["field", "values", "recipe", "best"], tables.field_rows(results), left=2),
        *(["<h2>Plots</h2>", '<div class="grid">', *plots, "</div>"] if plots else []),
        "<h2>Trials</h2>",
        f"<p class='soft'>{_ORDER}</p>",
        _table(tables.trial_head(results), tables.trial_rows(results), left=2),
        "</main>",
        _footer(results),
    ]
    return document(title, body)


def _table(head: list[str], rows: list[list[str]], *, left: int) -> str:
    lines = [table_row([escape(value) for value in row], left=left) for row in rows]
    return table(head, lines, left=left)


def _failed(results: Results) -> str:
    told = tables.reasons(results)
    if not told:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in told)
    return f'<div class="missing"><strong>Some trials failed.</strong><ul>{items}</ul></div>'


def _footer(results: Results) -> str:
    facts = {
        "made with": f"<code>{escape(results['command'])}</code>",
        "version": escape(f"kard_ray {results['package_version']}"),
        "machine": escape(", ".join(f"{name} {value}" for name, value in results["machine"].items())),
        "run directory": f"<code>{escape(results['run_directory'])}</code>",
    }
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"<footer><dl>{items}</dl></footer>"
