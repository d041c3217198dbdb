"""Can students tell "yes" from "no", or do they lean to one of them? For questions that all have the same two options.

A student that can tell nothing still says one of the two more often, and its accuracy is then the share of questions
with that answer. This asks instead how often a question of the first answer is given more probability for it than a
question of the second (the area under the ROC curve, which no leaning changes; 0.5: it tells nothing), from the log
probabilities of a finished comparison with ``prediction.answer: options``.

    .venv/bin/python benchmarks/leaning.py --run-dir runs/compare_strategyqa
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kard_ray.benchmarks.question import Question
from kard_ray.comparison_inputs import answers_of
from kard_ray.evaluation.intervals import percentiles
from kard_ray.grid import make_cells
from kard_ray.pipeline import read_run_recipe
from kard_ray.runtime.artifacts import RunDirectory

RESAMPLES = 2_000


def area(first_N: NDArray[np.bool_], margin_N: NDArray[np.float64]) -> float:
    """Share of pairs of a question of the ``first`` answer and one of the second whose margins are in that order."""
    yes, no = margin_N[first_N][:, None], margin_N[~first_N][None]
    return float((yes > no).mean() + 0.5 * (yes == no).mean())


def interval(first_N: NDArray[np.bool_], margin_N: NDArray[np.float64]) -> tuple[float, float]:
    """95 % of the area over questions drawn anew; those of either answer by themselves, so that both are there."""
    draw = np.random.default_rng(0)
    sides = np.flatnonzero(first_N), np.flatnonzero(~first_N)
    areas = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([draw.choice(side, len(side)) for side in sides])
        areas.append(area(first_N[drawn], margin_N[drawn]))
    return percentiles(np.array(areas))


def main() -> None:
    """A line for each student and source: accuracy, how often it gives the first answer, and the area."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run-dir", default="runs/compare_strategyqa")
    run_dir: str = parser.parse_args().run_dir
    if not Path(run_dir, "run.json").exists():
        print(f"left out: there is no run in {run_dir}; name one with --run-dir")
        return
    run = RunDirectory(run_dir)
    recipe = read_run_recipe(run)
    cells = make_cells(recipe, run)
    questions: dict[str, Question] = {
        q.question_id: q for q in cells[0].pipeline.selected(recipe.prediction.split)
    }
    (options,) = {q.options for q in questions.values()}
    first = np.array([q.answer == 0 for q in questions.values()])
    print(f"{len(first)} questions, {first.mean():.3f} of them {options[0]!r}")
    for cell in cells:
        if not cell.pipeline.prediction_artifact(cell.method).finished:
            continue
        for found in answers_of(cell):
            rows = {row["question_id"]: row for row in found.predictions.to_pylist()}
            scores = np.array([rows[name]["option_log_probs"] for name in questions])
            margin = scores[:, 0] - scores[:, 1]
            low, high = interval(first, margin)
            right = np.mean([rows[name]["correct"] for name in questions])
            print(
                f"{cell.name}, passages {found.passages}: accuracy {right:.3f}, {options[0]!r} "
                f"{(margin >= 0).mean():.3f}, area {area(first, margin):.3f} [{low:.3f}, {high:.3f}]"
            )


if __name__ == "__main__":
    main()
