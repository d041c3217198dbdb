"""Have students internalised what they learned from? New questions about facts behind their training rationales.

The factbook's test questions are about countries that no training question is about, so their facts can only be read.
This asks questions of the training split that the run did not use, each of whose gold passages stands behind a question
with a kept rationale: new questions, facts that were seen in training. The first method is compared with the others,
paired by question.

    .venv/bin/python benchmarks/seen_facts.py --run-dir runs/compare_factbook --methods skintern,std_cot,finetune
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.paired import compare_pair
from kard_ray.new_questions import evaluate_questions
from kard_ray.pipeline import Pipeline, read_run_recipe
from kard_ray.runtime.artifacts import RunDirectory


def seen_questions(run_dir: str) -> list[Question]:
    """The questions of the training split that are new to students, and whose facts are not."""
    run = RunDirectory(run_dir)
    pipeline = Pipeline(read_run_recipe(run), run)
    rationales = pipeline.rationales_artifact.read_table("rationales.parquet").to_pylist()
    explained = {row["question_id"] for row in rationales if row["kept"]}
    used = pipeline.selected("train")
    seen = {passage for q in used if q.question_id in explained for passage in q.gold_passages}
    used_ids = {q.question_id for q in used}
    return [
        q
        for q in pipeline.questions()
        if q.split == "train"
        and q.question_id not in used_ids
        and q.gold_passages
        and seen.issuperset(q.gold_passages)
    ]


def answers(run_dir: str, method: str, questions: Path, folder: Path) -> dict[str, float]:
    """Whether ``method`` answers each question right, by id; prints its accuracy."""
    out = folder / f"{method}.parquet"
    print(f"{method}: ", end="", flush=True)
    evaluate_questions(run_dir, method=method, questions=questions, out=out)
    table = pq.read_table(out, columns=["question_id", "correct"])
    return {row["question_id"]: float(row["correct"]) for row in table.to_pylist()}


def main() -> None:
    """Write the questions, ask each method, and compare the first with the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run-dir", default="runs/compare_factbook")
    parser.add_argument("--methods", default="skintern,std_cot,finetune")
    asked_for = parser.parse_args()
    if not Path(asked_for.run_dir, "run.json").exists():
        print(f"left out: there is no run in {asked_for.run_dir}; name one with --run-dir")
        return
    questions = seen_questions(asked_for.run_dir)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "questions.jsonl")
        lines = [
            {"id": q.question_id, "question": q.question, "options": q.options, "answer": q.answer}
            for q in questions
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        chance = sum(1 / len(q.options) for q in questions) / len(questions)
        print(f"{len(questions)} questions, chance {chance:.3f}")
        methods: list[str] = asked_for.methods.split(",")
        right = {method: answers(asked_for.run_dir, method, path, Path(folder)) for method in methods}
    first = right[methods[0]]
    for method in methods[1:]:
        other = right[method]
        pair = compare_pair([list(first.values())], [[other[name] for name in first]])
        print(
            f"{methods[0]} - {method}: {pair.difference:+.3f} [{pair.ci_low:+.3f}, {pair.ci_high:+.3f}], "
            f"p = {pair.p_value:.3f}"
        )


if __name__ == "__main__":
    main()
