"""The tables of a comparison in Markdown, in the papers' form: methods as rows, kinds of questions as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kard_ray.comparison.charts import flops_text
from kard_ray.comparison.labels import Labels, published_name
from kard_ray.evaluation.published import FINDINGS


def kinds_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds of questions, when there is more than one."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["by_kind"]))
    return kinds if len(kinds) > 1 else []


def markdown(results: Mapping[str, Any]) -> str:
    """results.md: accuracy in per cent, tested differences, errors, published numbers, how to make it again."""
    rows, labels = results["rows"], Labels(results["rows"])
    parts = [
        f"# {results['recipe']}: {results['benchmark']}, {results['split']} split, {results['n']} questions",
        "",
        (
            "Accuracy in %, 95 % intervals from a bootstrap over questions, and over seeds where there are several. "
            "FLOPs per question count prompt, generated tokens and retrieval (rel. prefill: prompts alone, as SKIntern "
            f"counts), relative to {_relative_to(rows, labels)}. Silver passages are found with "
            "the teacher's rationale: an upper bound."
        ),
        "",
        *main_table(rows, labels),
        "",
    ]
    parts += [f"- Missing: {what['cell']}: {what['reason']}" for what in results.get("missing", ())]
    if results["pairs"]:
        parts += ["", "## Differences", "", *pair_table(results["pairs"], labels), ""]
    for group in results["groups"]:
        parts += [
            "",
            f"## {group_title(group)}",
            "",
            *group_table(results["rows"], group["name"], labels),
            "",
        ]
        parts += [*pair_table(group["pairs"], labels), ""] if group["pairs"] else []
    if results["errors"]:
        parts += [
            "## Errors of students that search",
            "",
            *error_table(pooled_errors(results["errors"]), labels),
            "",
        ]
    if results["published"]:
        parts += ["## Published numbers, of other students, on other machines", ""]
        parts += [*published_table(results["published"]), ""]
        parts += [*(f"- {note.text} ({note.paper}, {note.source})" for note in FINDINGS), ""]
    parts += ["## Made with", "", f"`{results['command']}`", "", *_facts(results)]
    return "\n".join(parts).rstrip() + "\n"


def _relative_to(rows: Sequence[Mapping[str, Any]], labels: Labels) -> str:
    unit = rows[0].get("flops_relative_to") if rows else None
    return labels.by_id[unit] if unit else "nothing, because no model's FLOPs are known"


def _facts(results: Mapping[str, Any]) -> list[str]:
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    return [f"Machine: {machine}. Version: kard_ray {results['package_version']}."]


def table(head: Sequence[str], lines: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """A Markdown table; all columns but the first ``left`` are right-aligned."""
    rule = ["---" if at < left else "---:" for at in range(len(head))]
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (head, rule, *lines)
    ]


def main_table(rows: Sequence[Mapping[str, Any]], labels: Labels) -> list[str]:
    """Methods as rows; kinds, all questions, interval, seeds, tokens, FLOPs."""
    kinds = kinds_of(rows)
    head = [
        "method",
        *kinds,
        "all",
        "95 % interval",
        "seeds",
        "no answer",
        "tokens in",
        "tokens out",
        "FLOPs",
        "rel.",
        "rel. prefill",
    ]
    lines = []
    for row in rows:
        n = row["n"] or 1
        cost = row["flops_per_question"]
        lines.append(
            [
                labels.of(row),
                *(
                    share(row["by_kind"][kind]["accuracy"]) if kind in row["by_kind"] else "–"
                    for kind in kinds
                ),
                f"**{share(row['accuracy'])}**",
                f"{share(row['ci_low'])} – {share(row['ci_high'])}",
                str(len(row["seeds"])),
                f"{row['parse_failures']:.0f}",
                f"{row['prompt_tokens'] / n:.0f}",
                f"{row['generated_tokens'] / n:.0f}",
                flops_text(cost["total"]) if cost else "–",
                times(row["flops_relative"]),
                times(row["prefill_relative"]),
            ]
        )
    return table(head, lines)


def pair_table(pairs: Sequence[Mapping[str, Any]], labels: Labels) -> list[str]:
    """Differences in percentage points with their p-values."""
    return table(
        ["a", "b", "a − b", "95 % interval", "p", "p (Holm)"],
        [
            [
                labels.by_id[pair["a"]],
                labels.by_id[pair["b"]],
                points(pair["difference"]),
                f"{points(pair['ci_low'])} to {points(pair['ci_high'])}",
                p_text(pair["p_value"]),
                p_text(pair["p_holm"]),
            ]
            for pair in pairs
        ],
        left=2,
    )


def group_title(group: Mapping[str, Any]) -> str:
    """``facts: 145 questions of choice, choice_bridge``."""
    return f"{group['name']}: {group['n']} questions of {', '.join(group['kinds'])}"


def group_table(rows: Sequence[Mapping[str, Any]], name: str, labels: Labels) -> list[str]:
    """Accuracy of each row on the questions of group ``name``."""
    mine = [(row, row["by_group"][name]) for row in rows]
    return table(
        ["method", "accuracy", "95 % interval"],
        [
            [
                labels.of(row),
                f"**{share(of['accuracy'])}**",
                f"{share(of['ci_low'])} – {share(of['ci_high'])}",
            ]
            for row, of in mine
        ],
    )


def pooled_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Counts of all seeds of a row together; they are whole numbers of answers, not means."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for error in errors:
        key = (error["student"], error["method"], error["passages"])
        sums = found.setdefault(
            key,
            {
                "student": key[0],
                "method": key[1],
                "passages": key[2],
                "gold": error["gold"],
                "right": 0,
                "wrong": 0,
            }
            | {"retrieval_failures": 0, "reading_failures": 0, "mended": 0, "judged": 0},
        )
        sums["right"] += error["n"] - error["wrong"]
        sums["wrong"] += error["wrong"]
        sums["retrieval_failures"] += error["retrieval_failures"] or 0
        sums["reading_failures"] += error["reading_failures"] or 0
        for part in error["failures"].values():
            if part["mended_by_silver"] is not None:
                sums["mended"] += part["mended_by_silver"]
                sums["judged"] += part["wrong"]
    return list(found.values())


def error_table(errors: Sequence[Mapping[str, Any]], labels: Labels) -> list[str]:
    """Wrong answers: not all gold passages found, or all found and wrong all the same; mended by silver passages."""
    return table(
        [
            "method",
            "right",
            "wrong",
            "retrieval failed",
            "reading failed",
            "mended by silver",
            "gold passages",
        ],
        [
            [
                labels.of(error),
                str(error["right"]),
                str(error["wrong"]),
                str(error["retrieval_failures"]),
                str(error["reading_failures"]),
                f"{error['mended']} of {error['judged']}" if error["judged"] else "–",
                {"benchmark": "the benchmark's", "silver": "silver ones in their place"}.get(
                    error["gold"], "unknown"
                ),
            ]
            for error in errors
        ],
    )


def published_table(published: Sequence[Mapping[str, Any]]) -> list[str]:
    """The papers' numbers, marked as theirs."""
    return table(
        ["published: method", "student", "benchmark", "accuracy", "rel. FLOPs", "where"],
        [
            [
                published_name(row),
                row["student"],
                row["benchmark"],
                f"{row['accuracy']:.1f}",
                f"{row['relative_flops']:g}" if row["relative_flops"] is not None else "–",
                f"{row['paper']} ({row['source']})",
            ]
            for row in published
        ],
        left=3,
    )


def share(value: float) -> str:
    """A share as per cent, one digit, without the sign."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def p_text(value: float) -> str:
    """A p-value; a small one as a bound."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def times(value: float | None) -> str:
    """A multiple; a dash when it is not known."""
    return "–" if value is None else f"{value:.2f}"
