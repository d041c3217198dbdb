"""How good retrieval is: modes side by side on SciFact (train queries) and on StrategyQA's passages.

StrategyQA: the knowledge base holds all published passages (Wikipedia passages, evidence paragraphs) and the facts that
annotators wrote for each question; relevant are the facts of the same question, asked for with the question and the
teacher's first rationale, as KARD does. For the World Factbook, run the quickstart and then
``kard-ray evaluate-retrieval jobs/recipes/quickstart.yaml --split train``.

    .venv/bin/python benchmarks/retrieval_quality.py [--only scifact|strategyqa] [--modes bm25 …] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kard_ray.retrieval_evaluation import evaluate_retrieval

MODES = ("bm25", "vector", "hybrid")
PACKAGES = ("lancedb", "pylance", "sentence-transformers", "torch", "ir-measures")


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_judgements(path: Path, relevant: dict[str, list[str]]) -> Path:
    """BEIR's TSV."""
    lines = [f"{query}\t{document}\t1" for query, documents in relevant.items() for document in documents]
    path.write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n", encoding="utf-8")
    return path


def strategyqa(data: Path, folder: Path) -> tuple[Path, dict[str, Path], Path]:
    """The recipe, the queries by kind, and the judgements."""
    questions = json.loads((data / "train_annotations.json").read_text(encoding="utf-8"))
    with gzip.open(data / "teacher_rationales_train.jsonl.gz", "rt", encoding="utf-8") as source:
        rationales = {row["id"]: row["rationales"][0] for row in map(json.loads, source) if row["rationales"]}
    lines = (data / "train.json").read_text(encoding="utf-8").splitlines()
    by_text = {row["sent1"]: rationales.get(row["id"]) for row in map(json.loads, lines)}
    facts = {
        q["qid"]: [f"fact/{q['qid']}/{n}" for n in range(len(q["facts"]))] for q in questions if q["facts"]
    }
    passages = [
        {"id": identity, "title": "", "text": text}
        for q in questions
        for identity, text in zip(facts.get(q["qid"], ()), q["facts"], strict=False)
    ]
    with gzip.open(data / "wikipedia_passages.jsonl.gz", "rt", encoding="utf-8") as source:
        for row in map(json.loads, source):
            title, _, text = row["document"].partition(" . ")
            passages.append({"id": f"wikipedia/{row['docid']}", "title": title, "text": text or title})
    with gzip.open(data / "evidence_paragraphs.jsonl.gz", "rt", encoding="utf-8") as source:
        for row in map(json.loads, source):
            title = row["pid"].rpartition("-")[0]
            passages.append(
                {"id": f"evidence/{row['pid']}", "title": title, "text": " ".join(row["sentences"])}
            )
    write(folder / "corpus.jsonl", passages)
    recipe = folder / "strategyqa.yaml"
    recipe.write_text(
        f"name: strategyqa\nknowledge:\n  corpus: {{kind: jsonl, path: {folder}/corpus.jsonl}}\n"
        # A fact that stands there twice counts for both questions.
        "  deduplication: {exact: false}\n",
        encoding="utf-8",
    )
    asked = [q for q in questions if q["qid"] in facts]
    queries = {
        "question": write(
            folder / "questions.jsonl", ({"_id": q["qid"], "text": q["question"]} for q in asked)
        ),
        "rationale": write(
            folder / "rationales.jsonl",
            ({"_id": q["qid"], "text": r} for q in asked if (r := by_text.get(q["question"]))),
        ),
    }
    return recipe, queries, write_judgements(folder / "qrels.tsv", facts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("scifact", "strategyqa"))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(
            f"{options.data} is not there: nothing measured. --data names the folder of public benchmark data."
        )
        return
    print(platform.platform(), ", ".join(f"{name} {version(name)}" for name in PACKAGES))
    with tempfile.TemporaryDirectory(prefix="kard-ray-quality-") as name:
        folder = Path(name)
        plain = ["knowledge.embedder=null"] if set(options.modes) == {"bm25"} else []
        common: dict[str, Any] = {
            "modes": options.modes,
            "k": 10,
            "version": None,
            "split": "dev",
            "out": None,
        }
        if options.only in (None, "scifact"):
            print("SciFact, train queries")
            data = options.data / "scifact"
            evaluate_retrieval(
                "jobs/recipes/scifact.yaml",
                run_dir=str(folder / "scifact"),
                overrides=[f"knowledge.corpus.path={data}", *plain],
                queries=data / "queries_train.jsonl",
                judgements=data / "qrels_train.tsv",
                **common,
            )
        if options.only in (None, "strategyqa"):
            recipe, queries, judgements = strategyqa(options.data / "strategyqa", folder)
            for kind, path in queries.items():
                print(f"StrategyQA, all passages and facts; the query is the {kind}")
                evaluate_retrieval(
                    str(recipe),
                    run_dir=str(folder / "run"),
                    overrides=plain,
                    queries=path,
                    judgements=judgements,
                    **common,
                )


if __name__ == "__main__":
    main()
