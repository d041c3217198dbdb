"""The report as one HTML file: tables, plots as inline SVG, and a browser of examples; it loads nothing.

All texts are data. In HTML they are escaped; what the script reads stands in a data block in which ``<``, ``>`` and
``&`` are written as JSON escapes, so that no text can end the block; the script makes text nodes of it. A content
security policy allows that script by its hash and no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kard_ray.comparison import figures
from kard_ray.comparison.charts import flops_text
from kard_ray.comparison.labels import Labels, published_name
from kard_ray.comparison.markup import document, shipped, table, table_row
from kard_ray.comparison.rows import SILVER
from kard_ray.comparison.tables import group_title, kinds_of, p_text, points, share, times
from kard_ray.evaluation.published import FINDINGS

SURE = 0.05  # a difference with a smaller corrected p-value is marked


def page(results: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]) -> str:
    """report.html: ``results`` as in results.json, ``examples`` as :func:`make_examples` gives them."""
    labels = Labels(results["rows"])
    script = shipped("report.js")
    body = [
        _header(results),
        "<main>",
        _missing(results.get("missing", ())),
        *_result_table(results, labels),
        '<h2>Plots</h2><div class="grid">',
        *figures.all_figures(results, labels),
        "</div>",
        *_pairs(results["pairs"], labels),
        *(part for group in results["groups"] for part in _group(group, results["rows"], labels)),
        *_published(results["published"]),
        *_examples(examples, labels, script),
        "</main>",
        _footer(results),
    ]
    return document(f"{results['recipe']}: students compared", body, script=script)


def data_block(name: str, data: Any) -> str:
    """``data`` as JSON for a script to read; nothing in it can end the element or begin another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _header(results: Mapping[str, Any]) -> str:
    seeds = sorted({seed for row in results["rows"] for seed in row["seeds"]})
    methods = len({row["method"] for row in results["rows"]})
    told = (
        f"{_counted(methods, 'method')} on {results['benchmark']}, {results['split']} split, "
        f"{_counted(results['n'], 'question')}; {_counted(len(seeds), 'seed')} "
        f"({', '.join(map(str, seeds))})."
    )
    return f"<header><h1>{escape(results['recipe'])}</h1><p class='soft'>{escape(told)}</p></header>"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _missing(missing: Sequence[Mapping[str, str]]) -> str:
    if not missing:
        return ""
    items = "".join(f"<li>{escape(what['cell'])}: {escape(what['reason'])}</li>" for what in missing)
    return f'<div class="missing"><strong>Not everything is here.</strong><ul>{items}</ul></div>'


def _result_table(results: Mapping[str, Any], labels: Labels) -> list[str]:
    rows = results["rows"]
    kinds = kinds_of(rows)
    fair = [row for row in rows if row["passages"] != SILVER]
    top = {kind: max((_of(row, kind) or 0.0 for row in fair), default=0.0) for kind in ["", *kinds]}
    lines = []
    for row in rows:
        shares = {kind: _of(row, kind) for kind in kinds}
        values = [
            escape(labels.of(row)),
            share(row["accuracy"]),
            f"{share(row['ci_low'])} – {share(row['ci_high'])}",
            *(share(value) if value is not None else "–" for value in shares.values()),
            str(len(row["seeds"])),
            f"{row['parse_failures']:.0f}",
        ]
        bound = row["passages"] == SILVER
        best = [
            False,
            row["accuracy"] == top[""],
            False,
            *(value == top[kind] for kind, value in shares.items()),
        ]
        lines.append(table_row(values, best=() if bound else best, kind="bound" if bound else ""))
    told = (
        "Accuracy in per cent; the best of each column is bold, without silver passages, which are found with the "
        "teacher's rationale and show what better retrieval could give. Intervals come from a bootstrap over "
        "questions, and over seeds where there are several. A text without a readable answer counts as wrong."
    )
    head = ["method", "all", "95 % interval", *kinds, "seeds", "no answer"]
    return [
        "<h2>Results</h2>",
        f"<p class='soft'>{escape(told)}</p>",
        table(head, lines),
        *_costs(rows, labels),
    ]


def _costs(rows: Sequence[Mapping[str, Any]], labels: Labels) -> list[str]:
    lines = []
    for row in rows:
        n, cost, minutes = row["n"] or 1, row["flops_per_question"], row["train_seconds"]
        values = [
            escape(labels.of(row)),
            f"{row['parameters'] / 1e6:,.0f}" if row["parameters"] is not None else "–",
            f"{minutes / 60:.1f}" if minutes is not None else "–",
            f"{row['prompt_tokens'] / n:.0f}",
            f"{row['generated_tokens'] / n:.0f}",
            f"{row['seconds_p50']:.2f}" if row["seconds_p50"] is not None else "–",
            f"{row['seconds_p95']:.2f}" if row["seconds_p95"] is not None else "–",
            flops_text(cost["total"]) if cost else "–",
            times(row["flops_relative"]),
            times(row["prefill_relative"]),
        ]
        lines.append(table_row(values, kind="bound" if row["passages"] == SILVER else ""))
    unit = rows[0]["flops_relative_to"] if rows else None
    told = (
        "Tokens, seconds and FLOPs are per question; seconds are those in the engine, with others beside it."
    )
    if unit:
        told += (
            f" Relative FLOPs are multiples of those of {labels.by_id[unit]}: of all of them, and of those of prompts "
            "alone, as SKIntern counts."
        )
    head = ["method", "million weights", "training, minutes", "tokens in", "tokens out", "seconds, median"]
    head += ["seconds, 95 %", "FLOPs", "relative", "relative, prompts"]
    return ["<h2>Cost</h2>", f"<p class='soft'>{escape(told)}</p>", table(head, lines)]


def _of(row: Mapping[str, Any], kind: str) -> float | None:
    if not kind:
        return float(row["accuracy"])
    return float(row["by_kind"][kind]["accuracy"]) if kind in row["by_kind"] else None


def _pairs(pairs: Sequence[Mapping[str, Any]], labels: Labels) -> list[str]:
    if not pairs:
        return []
    told = (
        "Percentage points of the first minus the second on the same questions. The last column is corrected for all "
        f"tests of this table (Holm); values below {SURE} are marked."
    )
    return ["<h2>Differences</h2>", f"<p class='soft'>{escape(told)}</p>", _pair_table(pairs, labels)]


def _group(group: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], labels: Labels) -> list[str]:
    """The questions of some kinds alone: accuracy of each row, and the same differences."""
    mine = [(row, row["by_group"][group["name"]]) for row in rows]
    lines = [
        table_row(
            [
                escape(labels.of(row)),
                share(of["accuracy"]),
                f"{share(of['ci_low'])} – {share(of['ci_high'])}",
            ],
            kind="bound" if row["passages"] == SILVER else "",
        )
        for row, of in mine
    ]
    told = "The same differences on these questions alone, corrected for the tests of this table."
    return [
        f"<h2>{escape(group_title(group))}</h2>",
        table(["method", "accuracy", "95 % interval"], lines),
        *([f"<p class='soft'>{told}</p>", _pair_table(group["pairs"], labels)] if group["pairs"] else []),
    ]


def _pair_table(pairs: Sequence[Mapping[str, Any]], labels: Labels) -> str:
    lines = [
        table_row(
            [
                escape(labels.by_id[pair["a"]]),
                escape(labels.by_id[pair["b"]]),
                points(pair["difference"]),
                f"{points(pair['ci_low'])} to {points(pair['ci_high'])}",
                p_text(pair["p_value"]),
                f'<span class="{"sure" if pair["p_holm"] < SURE else ""}">{p_text(pair["p_holm"])}</span>',
            ],
            left=2,
        )
        for pair in pairs
    ]
    head = ["first", "second", "difference", "95 % interval", "p", "p, corrected"]
    return table(head, lines, left=2)


def _published(published: Sequence[Mapping[str, Any]]) -> list[str]:
    if not published:
        return []
    lines = [
        table_row(
            [
                escape(published_name(row)),
                escape(row["student"]),
                escape(row["benchmark"]),
                f"{row['accuracy']:.1f}",
                f"{row['relative_flops']:.1f}" if row["relative_flops"] is not None else "–",
                escape(f"{row['paper']} ({row['source']})"),
            ],
            left=3,
        )
        for row in published
    ]
    told = "What the papers print: other, larger students, trained elsewhere on other teachers. Not measured here."
    head = ["method", "student", "benchmark", "accuracy", "relative FLOPs", "where"]
    notes = [
        f"<li>{escape(note.text)} <span class='soft'>{escape(f'{note.paper}, {note.source}')}</span></li>"
        for note in FINDINGS
    ]
    return [
        "<h2>Published numbers</h2>", f"<p class='soft'>{told}</p>", table(head, lines, left=3),
        "<p>What the papers say beside, and what is odd in their numbers:</p>",
        f"<ul>{''.join(notes)}</ul>",
    ]  # fmt: skip


def _examples(examples: Sequence[Mapping[str, Any]], labels: Labels, script: str) -> list[str]:
    if not examples:
        return []
    shown = {answer["row"] for example in examples for answer in example["answers"]}
    names = {row: name for row, name in labels.by_id.items() if row in shown}
    return [
        "<h2>Examples</h2>",
        (
            "<p class='soft'>Half of these questions are drawn at random, half are such on which students disagree. "
            "Answers are those of the first seed. Gold passages carry the question's facts; silver ones are found with "
            "the teacher's rationale.</p>"
        ),
        (
            '<div class="controls">'
            '<label>student<select id="row"><option value="">all</option></select></label>'
            '<label>outcome<select id="outcome"><option value="">any</option><option value="right">right</option>'
            '<option value="wrong">wrong</option><option value="divided">students disagree</option></select></label>'
            '<label>kind<select id="kind"><option value="">any</option></select></label>'
            '<label>words<input id="words" type="search" placeholder="in question, options, answers"></label>'
            "</div>"
        ),
        '<p class="soft small" id="examples-count" aria-live="polite"></p>',
        '<div id="examples-list"></div>',
        '<button id="more" type="button" hidden>Show more</button>',
        "<noscript><p>The examples are shown by a script in this file, and scripts are switched off.</p></noscript>",
        data_block("examples-data", {"examples": list(examples), "names": names}),
        f"<script>{script}</script>",
    ]


def _footer(results: Mapping[str, Any]) -> str:
    facts = {
        "made with": f"<code>{escape(results['command'])}</code>",
        "version": escape(f"kard_ray {results['package_version']}"),
        "machine": escape(", ".join(f"{name} {value}" for name, value in results["machine"].items())),
        "run directory": f"<code>{escape(results['run_directory'])}</code>",
    }
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"<footer><dl>{items}</dl></footer>"
