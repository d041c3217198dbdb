"""The ``kard-ray`` command: thin, one sub-command per stage.

Errors of the user end with one sentence and exit code 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kard_ray.knowledge_cli import knowledge_app
from kard_ray.runtime.errors import explain
from kard_ray.tokens_cli import tokens_app

app = typer.Typer(
    name="kard-ray",
    help="Distil reasoning with retrieved knowledge into small models, on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).")]
RunDir = Annotated[
    str | None, typer.Option("--run-dir", help="Where artifacts go; default: runs/<name of the recipe>.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: student.epochs=3. May be repeated.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print stages, what would be done and why, rows, tokens, time.")
]

DropContaminated = Annotated[
    bool,
    typer.Option(
        "--drop-contaminated", help="Leave out passages and training questions that overlap test questions."
    ),
]


@app.command()
def run(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    drop_contaminated: DropContaminated = False,
) -> None:
    """All stages, from the benchmark to the report; finished ones are skipped."""
    from kard_ray.execution import run_stages
    from kard_ray.pipeline import STAGES

    run_stages(
        recipe, STAGES, run_dir=run_dir, overrides=_overrides(set_, drop_contaminated), dry_run=dry_run
    )


def _overrides(set_: list[str] | None, drop_contaminated: bool) -> list[str]:
    return [*(set_ or ()), *(["contamination.drop=true"] if drop_contaminated else ())]


def _stage_command(stage: str, help_text: str) -> None:
    def command(
        recipe: RecipePath,
        run_dir: RunDir = None,
        set_: Overrides = None,
        dry_run: DryRun = False,
        drop_contaminated: DropContaminated = False,
    ) -> None:
        from kard_ray.execution import run_stages

        overrides = _overrides(set_, drop_contaminated)
        run_stages(recipe, (stage,), run_dir=run_dir, overrides=overrides, dry_run=dry_run)

    app.command(stage, help=help_text)(command)


_stage_command("benchmark", "Questions of the benchmark.")
app.add_typer(knowledge_app, name="knowledge")
_stage_command("contamination", "Test questions that stand in passages or training questions.")


@app.command()
def rationales(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    drop_contaminated: DropContaminated = False,
    retry_empty: Annotated[
        int | None,
        typer.Option(
            "--retry-empty", min=0, help="Ask again, so many times, for questions left without a rationale."
        ),
    ] = None,
) -> None:
    """Teacher rationales, verified; what was paid for before is kept."""
    from kard_ray.execution import run_stages

    overrides = _overrides(set_, drop_contaminated)
    if retry_empty is not None:
        overrides.append(f"teacher.retry_empty={retry_empty}")
    run_stages(recipe, ("rationales",), run_dir=run_dir, overrides=overrides, dry_run=dry_run)


_stage_command("symbolic", "Symbolic knowledge beside the kept rationales (SKIntern).")
_stage_command("compression", "Symbolic knowledge at every stage of the curriculum.")
_stage_command("examples", "The nearest training questions of each training question.")
_stage_command("silver", "Silver passages: what each rationale retrieves.")
_stage_command("candidates", "What a reranker learns from: candidates found by rationale and by question.")
_stage_command("reranker", "The reranker.")
_stage_command("token_vectors", "Token vectors of all passages, for reranking and for multivector search.")
_stage_command(
    "question_passages", "What training questions find themselves (knowledge-augmented fine-tuning)."
)
_stage_command("train", "Students, one per method of the recipe.")
_stage_command("predict", "Answers of the students.")
_stage_command("report", "The result table.")


@app.command()
def compare(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print students and steps, which are finished, tokens, time.")
    ] = False,
) -> None:
    """Train and test methods x students x seeds side by side; tables, tests and a report with plots."""
    from kard_ray.compare import compare as compare_students

    compare_students(recipe, run_dir=run_dir, overrides=set_ or (), dry_run=dry_run)


@app.command()
def sweep(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print fields, what is made before the trials, the budget.")
    ] = False,
) -> None:
    """Search for the best values of the recipe's sweep.space, trials side by side; a killed sweep goes on."""
    from kard_ray.sweep import sweep as search_values

    search_values(recipe, run_dir=run_dir, overrides=set_ or (), dry_run=dry_run)


@app.command()
def estimate(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    tokens_per_second: Annotated[
        float | None,
        typer.Option("--tokens-per-second", min=0.1, help="Rate of all engines together, if you know it."),
    ] = None,
    prompts: Annotated[int, typer.Option("--prompts", min=0, help="Print so many prompts.")] = 0,
) -> None:
    """What the teacher will cost: texts, tokens with their error, price or GPU hours; nothing is generated."""
    from kard_ray.teacher_estimate import print_teacher_estimate

    print_teacher_estimate(
        recipe, run_dir=run_dir, overrides=set_ or (), tokens_per_second=tokens_per_second, prompts=prompts
    )


@app.command("evaluate-retrieval")
def evaluate_retrieval(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    queries: Annotated[
        Path | None,
        typer.Option("--queries", help="BEIR queries (JSON Lines: _id, text); default: the benchmark's."),
    ] = None,
    judgements: Annotated[
        Path | None,
        typer.Option("--judgements", "--qrels", help="Relevant documents (TSV: query-id, corpus-id, score)."),
    ] = None,
    modes: Annotated[
        str, typer.Option("--modes", help="Any of bm25, vector, hybrid, reranker, multivector.")
    ] = "bm25,vector,hybrid",
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="How many are looked at.")] = 10,
    version: Annotated[str | None, typer.Option("--version", help="Version of the knowledge base.")] = None,
    split: Annotated[str, typer.Option("--split", help="Split of the benchmark's questions.")] = "dev",
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures to this JSON file.")] = None,
) -> None:
    """Hits@k, recall, nDCG and MRR of each retrieval mode; builds the knowledge base when it is not there."""
    from kard_ray.retrieval_evaluation import evaluate_retrieval as measure

    measure(
        recipe,
        run_dir=run_dir,
        overrides=set_ or (),
        queries=queries,
        judgements=judgements,
        modes=[mode.strip() for mode in modes.split(",")],
        k=k,
        version=version,
        split=split,
        out=out,
    )


@app.command()
def evaluate(
    run_dir: Annotated[str, typer.Argument(metavar="RUN_DIR", help="Directory of a finished run.")],
    questions: Annotated[
        Path, typer.Option("--questions", help="JSON Lines: id, question, options, answer.")
    ],
    method: Annotated[str, typer.Option("--method", help="Which student answers.")] = "kard",
    student: Annotated[
        str | None, typer.Option("--student", help="Its name in a comparison; default: the first.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Its seed in a comparison; default: the first.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write predictions to this Parquet file.")] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", help="Version of the knowledge base to read; default: the run's."),
    ] = None,
) -> None:
    """Answer new questions with a trained student; the last line is the accuracy with its 95 % interval."""
    from kard_ray.new_questions import evaluate_questions

    evaluate_questions(
        run_dir, method=method, student=student, seed=seed, questions=questions, out=out, version=version
    )


@app.command()
def serve(
    run_dir: Annotated[str, typer.Argument(metavar="RUN_DIR", help="Directory of a finished run.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field of the group serving: serving.max_running=32."),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address that is listened on; default: 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65_535, help="Default: 8000.")] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Ask for no token; then only this machine is served.")
    ] = False,
    tokens: Annotated[
        Path | None,
        typer.Option("--tokens", help="File of the tokens; default: tokens.json in the run directory."),
    ] = None,
) -> None:
    """Put a run's students online: a page, an interface, and OpenAI's form of it; docs/serving.md tells more."""
    from kard_ray.serve import serve as put_online

    given = {"host": host, "port": port, "auth": "false" if no_auth else None, "tokens": tokens}
    named = [f"serving.{name}={value}" for name, value in given.items() if value is not None]
    put_online(run_dir, overrides=[*(set_ or ()), *named])


app.add_typer(tokens_app, name="tokens")


@app.command()
def feedback(
    run_dir: Annotated[str, typer.Argument(metavar="RUN_DIR", help="Run directory, or folder of verdicts.")],
    out: Annotated[Path, typer.Option("--out", help="JSON Lines for a benchmark of kind jsonl.")],
) -> None:
    """Write questions whose right answer users' verdicts tell, as training questions of the next run."""
    from kard_ray.serving_upkeep import write_questions

    write_questions(run_dir, out)


@app.command()
def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Whose disk is looked at.")] = Path("runs"),
) -> None:
    """What is installed, which models resolve, what this machine has; exit code 1 when something is wrong."""
    from kard_ray.runtime.doctor import as_json, examine, print_table

    checks = examine(run_dir=run_dir)
    if json_:
        print(as_json(checks))
    else:
        print_table(checks)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: user errors become one sentence on standard error and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # tokenizers warn after every fork otherwise
    try:
        app()
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        print(f"kard-ray: {sentence}", file=sys.stderr)
        sys.exit(2)
