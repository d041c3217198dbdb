"""Which plots the report shows, made from results.json; a plot without data is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kard_ray.comparison import charts
from kard_ray.comparison.charts import flops_text, legend, percent
from kard_ray.comparison.labels import Labels, method_name
from kard_ray.comparison.markup import figure
from kard_ray.comparison.rows import SILVER
from kard_ray.comparison.tables import kinds_of, pooled_errors

Row = Mapping[str, Any]


def all_figures(results: Mapping[str, Any], labels: Labels) -> list[str]:
    """The figures as HTML, in the order of the page."""
    rows = results["rows"]
    return [
        *_accuracy(rows, labels, results.get("chance")),
        *_against_flops(rows, labels),
        *_parts_of_flops(rows, labels),
        *_hits(rows, labels),
        *_errors(results["errors"], labels),
        *_trade_off(results["gating"], labels),
        *_learning(results["cells"], labels),
        *_kinds(rows, labels),
    ]


def _accuracy(rows: Sequence[Row], labels: Labels, chance: float | None) -> list[str]:
    bars = [
        charts.Bar(
            labels.of(row), row["accuracy"], row["ci_low"], row["ci_high"], labels.colour(row["method"]),
            note=f"{labels.of(row)}: {percent(row['accuracy'], 1)}, 95 % interval {percent(row['ci_low'], 1)} to "
            f"{percent(row['ci_high'], 1)}, {len(row['seeds'])} seeds",
            faint=row["passages"] == SILVER,
        )
        for row in rows
    ]  # fmt: skip
    told = "Whiskers are 95 % intervals; pale bars read silver passages."
    if chance is not None:
        told += f" The dashed line is chance, {percent(chance)}."
    return [figure("Accuracy", charts.bars(bars, title="Accuracy of each method", mark=chance), told)]


def _against_flops(rows: Sequence[Row], labels: Labels) -> list[str]:
    points = [
        charts.Point(
            labels.of(row), row["flops_per_question"]["total"], row["accuracy"], row["ci_low"], row["ci_high"],
            labels.colour(row["method"]), row["passages"] == SILVER,
        )
        for row in rows
        if row["flops_per_question"] and row["flops_per_question"]["total"] > 0
    ]  # fmt: skip
    if not points:
        return []
    chart = charts.scatter(
        points, title="Accuracy against FLOPs per question", x_name="FLOPs per question (logarithmic)",
        y_name="accuracy", x_text=flops_text,
    )  # fmt: skip
    told = "Prompt, generated tokens, retrieval. Up and to the left is better; hollow points read silver passages."
    return [figure("Accuracy against cost", chart, told)]


def _parts_of_flops(rows: Sequence[Row], labels: Labels) -> list[str]:
    parts = ("prefill", "decode", "retriever", "reranker")
    counted = [row for row in rows if row["flops_per_question"] and row["flops_per_question"]["total"] > 0]
    if not counted:
        return []
    used = [at for at, part in enumerate(parts) if any(row["flops_per_question"][part] for row in counted)]
    names = {
        "prefill": "reading prompts",
        "decode": "writing",
        "retriever": "retrieval",
        "reranker": "reranking",
    }
    bars = [
        charts.Divided(labels.of(row), [row["flops_per_question"][parts[at]] for at in used])
        for row in counted
    ]
    chart = charts.divided(
        bars,
        [names[parts[at]] for at in used],
        title="Parts of the FLOPs per question",
        shares=False,
        text=flops_text,
    )
    told = legend([(names[parts[at]], number) for number, at in enumerate(used)], parts=True)
    return [figure("Where the FLOPs go", chart + told, "FLOPs per question.")]


def _hits(rows: Sequence[Row], labels: Labels) -> list[str]:
    """One line for each way of retrieving; students that retrieve alike share it."""
    found: dict[tuple[float, ...], list[Row]] = {}
    for row in rows:
        if row["hits_at"]:
            found.setdefault(tuple(row["hits_at"]), []).append(row)
    if not found:
        return []
    series = [
        charts.Line(
            "; ".join(dict.fromkeys(labels.of(row) for row in same)),
            [(k, hits) for k, hits in enumerate(curve, start=1)],
            number,
            marks=True,
        )
        for number, (curve, same) in enumerate(found.items())
    ]
    chart = charts.lines(
        series, title="Hits@k", x_name="passages k", y_name="Hits@k", y_text=percent, y_bounds=(0.0, 1.0)
    )
    told = "Questions with at least one gold passage among the first k that were shown."
    return [figure("Retrieval", chart + legend([(line.label, line.colour) for line in series]), told)]


def _errors(errors: Sequence[Row], labels: Labels) -> list[str]:
    pooled = [error for error in pooled_errors(errors) if error["gold"] is not None]
    if not pooled:
        return []
    names = ["right", "retrieval failed", "reading failed"]
    rows = [
        charts.Divided(labels.of(e), [e["right"], e["retrieval_failures"], e["reading_failures"]])
        for e in pooled
    ]
    chart = charts.divided(rows, names, title="Right answers, retrieval failures, reading failures")
    told = (
        "Wrong answers with all gold passages in the prompt are failures of reading, the others of retrieval."
    )
    if any(error["gold"] == "silver" for error in pooled):
        told += " The benchmark knows no gold passages: silver ones stand in their place."
    mended = [f"{labels.of(e)} {e['mended']} of {e['judged']}" for e in pooled if e["judged"]]
    if mended:
        told += f" Silver passages mend: {'; '.join(mended)}."
    legend_ = legend([(name, at) for at, name in enumerate(names)], parts=True)
    return [figure("Retrieval or reading", chart + legend_, told)]


def _trade_off(gating: Sequence[Row], labels: Labels) -> list[str]:
    if not gating:
        return []
    figures = []
    by_row: dict[str, list[Row]] = {}
    for curve in gating:
        by_row.setdefault(labels.of(curve), []).append(curve)
    for name, curves in by_row.items():
        counted = all(point["flops_per_question"] is not None for curve in curves for point in curve["curve"])
        cost = "flops_per_question" if counted else "asked"
        series = [
            charts.Line(
                f"seed {curve['seed']}",
                sorted((point[cost], point["accuracy"]) for point in curve["curve"]),
                number,
                marks=len(curve["curve"]) <= 25,
            )
            for number, curve in enumerate(curves)
        ]
        x_name = "FLOPs per question" if counted else "questions that ask for passages"
        chart = charts.lines(
            series, title=f"Accuracy of {name} by {x_name}", x_name=x_name, y_name="accuracy", y_text=percent,
            x_text=flops_text if counted else percent, y_bounds=(0.0, 1.0), x_whole=False,
        )  # fmt: skip
        told = (
            "Each threshold on the answer's probability is one point: far left no question asks for passages, far "
            "right all do. In the table the threshold of each half of the questions was chosen on the other half."
        )
        names = legend([(line.label, line.colour) for line in series])
        figures.append(figure(f"{name}: asking only when unsure", chart + names, told))
    return figures


def _learning(cells: Sequence[Row], labels: Labels) -> list[str]:
    """One line per training, of the first seed of each method and student; a student asked in several ways has one."""
    of_seed: dict[tuple[str, str], Row] = {}
    for cell in cells:
        if len(cell["curve"]) > 1:
            of_seed.setdefault((cell["student"], cell["method"]), cell)
    first: dict[tuple[str, str], Row] = {}
    for (student, method), cell in of_seed.items():
        if not any(m == method and other["curve"] == cell["curve"] for (_, m), other in first.items()):
            first[student, method] = cell
    if not first:
        return []
    several = len({student for student, _ in first}) > 1
    series = [
        charts.Line(
            method_name(method) + (f", {student}" if several else ""),
            [(step, loss) for step, loss in cell["curve"]],
            labels.colour(method) if not several else number,
        )
        for number, ((student, method), cell) in enumerate(first.items())
    ]
    highest = sorted(loss for line in series for _, loss in line.points)
    # The first steps of a run would flatten all the others
    ceiling = highest[int(0.99 * (len(highest) - 1))] * 1.1
    cut = [
        charts.Line(line.label, [(x, min(y, ceiling)) for x, y in line.points], line.colour)
        for line in series
    ]
    chart = charts.lines(
        cut, title="Loss by step", x_name="step", y_name="loss (nats per target token)",
        y_text=lambda value: f"{value:g}", y_bounds=(0.0, ceiling),
    )  # fmt: skip
    names = legend([(line.label, line.colour) for line in series])
    told = "Means over spans of steps, first seed. Losses of methods with other targets cannot be compared."
    return [figure("Learning", chart + names, told)]


def _kinds(rows: Sequence[Row], labels: Labels) -> list[str]:
    kinds = kinds_of(rows)
    if not kinds:
        return []
    fair = [row for row in rows if row["passages"] != SILVER]
    groups = []
    for kind in kinds:
        bars = [
            charts.Bar(
                labels.of(row),
                part["accuracy"],
                part["ci_low"],
                part["ci_high"],
                labels.colour(row["method"]),
            )
            for row in fair
            if (part := row["by_kind"].get(kind)) is not None
        ]
        number = max(row["by_kind"][kind]["n"] for row in fair if kind in row["by_kind"])
        chart = charts.bars(bars, title=f"Accuracy, questions of kind {kind}")
        groups.append(
            f"<div><p class='small'><strong>{escape(kind)}</strong>, {number} questions</p>{chart}</div>"
        )
    body = f'<div class="grid">{"".join(groups)}</div>'
    return [figure("Accuracy by kind of question", body, "Whiskers are 95 % intervals.", wide=True)]
