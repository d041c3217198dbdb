"""A sweep's results as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kard_ray.comparison.tables import table
from kard_ray.tuning.config import scalar_text
from kard_ray.tuning.results import Results, trial_of


def markdown(results: Results) -> str:
    """results.md: the best trial beside the recipe's own values, all trials, which fields mattered."""
    parts = [f"# {results['recipe']}: sweep of {results['target']}", "", summary(results), ""]
    parts += [*table(["field", "values", "recipe", "best"], field_rows(results), left=2), ""]
    if results["importance"]:
        rows = [[name, f"{100 * share:.0f} %"] for name, share in results["importance"].items()]
        parts += ["## What mattered", "", *table(["field", "share"], rows), ""]
    parts += ["## Trials", "", *table(trial_head(results), trial_rows(results), left=2), ""]
    if told := reasons(results):
        parts += ["## Trials that failed", "", *(f"- {line}" for line in told), ""]
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    parts += [
        "## Made with", "", f"`{results['command']}`", "",
        f"Machine: {machine}. Version: kard_ray {results['package_version']}.",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """How many trials there were, how they ended, what the best of them has."""
    states = results["states"]
    names = {"finished": "finished", "stopped": "stopped early", "failed": "failed", "running": "interrupted"}
    told = ", ".join(f"{states[state]} {name}" for state, name in names.items() if states.get(state))
    minutes = results["wall_seconds"] / 60
    text = (
        f"{len(results['trials'])} trials ({told}) in {minutes:.1f} minutes, {results['epochs']:.1f} epochs together, "
        f"compared by {results['metric']} on held-out training questions ({results['mode']})."
    )
    best, own = trial_of(results, "best"), trial_of(results, "own")
    if best is None:
        return f"{text} No trial has finished."
    text += f" The best is trial {best['number']} with {score_text(best['score'])}"
    if own is not None and own["score"] is not None:
        text += f"; the recipe's own values have {score_text(own['score'])}"
    return text + "."


def field_rows(results: Results) -> list[list[str]]:
    """Field, its values, the recipe's own, the best trial's."""
    best = trial_of(results, "best")
    return [
        [name, field["values"], scalar_text(field["own"]), scalar_text(best["values"][name]) if best else "–"]
        for name, field in results["space"].items()
    ]


def trial_head(results: Results) -> list[str]:
    """The columns of :func:`trial_rows`."""
    short = short_names(results["space"])
    return [
        "trial",
        "state",
        results["metric"],
        "epochs",
        "minutes",
        *(short[name] for name in results["space"]),
    ]


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """Field -> the last part of its name, where no other field has the same."""
    last = {field: field.rpartition(".")[2] for field in fields}
    count = Counter(last.values())
    return {field: name if count[name] == 1 else field for field, name in last.items()}


def trial_rows(results: Results) -> list[list[str]]:
    """All trials, the best first: finished ones, then those that were stopped, then the others."""
    return [
        [
            f"{trial['number']}{' (recipe)' if trial['number'] == results['own'] else ''}",
            trial["state"],
            score_text(trial["score"]),
            f"{trial['epochs']:.3g}",
            f"{trial['seconds'] / 60:.1f}",
            *(scalar_text(trial["values"][name]) for name in results["space"]),
        ]
        for trial in ranked(results)
    ]


def ranked(results: Results) -> Sequence[Mapping[str, Any]]:
    """Trials from the best to the worst; only finished ones can be the best."""
    order = ("finished", "stopped", "running", "failed")
    sign = -1 if results["mode"] == "max" else 1

    def place(trial: Mapping[str, Any]) -> tuple[Any, ...]:
        score = trial["score"]
        return order.index(trial["state"]), score is None, sign * (score or 0.0), trial["number"]

    return sorted(results["trials"], key=place)


def reasons(results: Results) -> list[str]:
    """A line for each trial that has failed, also for those that then went on."""
    return [
        f"trial {trial['number']} failed {_times(trial['failures'])}"
        f"{'' if trial['state'] == 'failed' else ', and then went on'}: {trial['reason']}"
        for trial in results["trials"]
        if trial["failures"]
    ]


def score_text(score: float | None) -> str:
    """Four digits."""
    return "–" if score is None else f"{score:.4g}"


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"
