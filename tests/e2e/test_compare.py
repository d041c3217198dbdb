"""``kard-ray compare`` with real students: side by side, killed and resumed, and when one of them fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Finished
from tests.e2e.world import TEST, World, copy_run, kard_ray, kill_when, manifests, only, succeed

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.timeout(900)]

SEEDS = (42, 2)  # students of the first are in the finished run already


def recipe_with(
    world: World, path: Path, compare: dict[str, Any], *, reranked: bool = False, **student: Any
) -> Path:
    tree = yaml.safe_load(world.recipe.read_text())
    tree["compare"] = compare
    tree["student"] |= student
    if reranked:
        tree["prediction"] |= {"sources": ["bm25", "reranker", "silver"], "rounds": [1, 2]}
        tree["reranker"] = {
            "model": str(world.folder / "bert"), "max_query_tokens": 32, "max_passage_tokens": 64, "epochs": 1,
            "by_rationale": 4, "by_question": 4, "candidates_per_step": 4, "depth": 20, "dev_fraction": 0.3,
        }  # fmt: skip
    tree["cluster"] |= {"num_cpus": 4}  # room for three workers of one core, besides what moves rows
    path.write_text(yaml.safe_dump(tree))
    return path


def contents(run: Path, stage: str) -> dict[str, int]:
    """Every file of the finished artifacts of ``stage``, and when it was written."""
    folders = [manifest["folder"] for manifest in manifests(run, stage)]
    return {str(p): p.stat().st_mtime_ns for folder in folders for p in folder.rglob("*") if p.is_file()}


def test_a_killed_comparison_goes_on_and_reports_every_student(
    finished: Finished, world: World, tmp_path: Path
) -> None:
    run = copy_run(
        finished.folder, tmp_path / "run", "benchmark", "knowledge", "rationales", "silver", "train"
    )
    recipe = recipe_with(
        world, tmp_path / "compare.yaml", {"seeds": list(SEEDS), "students": {"a": {}}, "claims": ["kard"]},
        reranked=True,
    )  # fmt: skip
    made_by_run = {stage: contents(run, stage) for stage in ("train/finetune", "train/kard")}
    command = ("compare", recipe, "--run-dir", run)
    log = tmp_path / "log"

    def one_is_predicted() -> bool:
        return bool(manifests(run, "predict/finetune"))

    kill_when(one_is_predicted, *command, log=log, seconds=600)
    # Independent students are trained side by side: the second starts before the first is done.
    told = [line for line in log.read_text().splitlines() if line.startswith("[kard-ray] train/")]
    assert ["starts" in line for line in told[:2]] == [True, True], told
    before = {stage: contents(run, stage) for stage in ("train/finetune", "train/kard", "predict/finetune")}
    for stage, files in made_by_run.items():
        assert files.items() <= before[stage].items(), f"{stage} was made again"
    assert before["predict/finetune"]

    done = succeed(*command)
    for stage, files in before.items():
        assert files.items() <= contents(run, stage).items(), f"{stage} was made again"
    assert "steps were finished before and are skipped" in done.err
    for stage in ("train/finetune", "train/kard", "predict/finetune", "predict/kard"):
        assert len(manifests(run, stage)) == len(SEEDS)
    # All students share the reranker and its token vectors of every passage.
    assert only(run, "token_vectors")["rows"] == {"token_vectors": only(run, "knowledge")["rows"]["passages"]}
    assert only(run, "token_vectors")["inputs"]["reranker"] == only(run, "reranker")["key"]

    results = json.loads((run / "comparison" / "results.json").read_text())
    sources = ["bm25", "bm25:2", "reranker", "reranker:2", "silver"]
    assert [(c["method"], c["seed"], c["passages"], c["n"]) for c in results["cells"]] == [
        *(("finetune", seed, "none", TEST) for seed in SEEDS),
        *(("kard", seed, source, TEST) for seed in SEEDS for source in sources),
    ]
    assert results["missing"] == []
    for cell in results["cells"]:
        assert cell["flops_per_question"]["total"] > 0
        assert cell["train_tokens"] > 0
        assert cell["curve"]
        assert (cell["hits_at"] is None) == (cell["passages"] == "none")
        assert (cell["flops_per_question"]["reranker"] > 0) == cell["passages"].startswith("reranker")
    tokens = {
        cell["passages"]: cell["prompt_tokens"] for cell in results["cells"] if cell["seed"] == SEEDS[0]
    }
    assert tokens["bm25:2"] > 1.5 * tokens["bm25"]  # the first round's rationale is paid for too
    curves = {(c["method"], c["seed"]): c["curve"] for c in results["cells"]}
    assert curves["kard", SEEDS[0]] != curves["kard", SEEDS[1]], "seeds train other students"
    assert [row["seeds"] for row in results["rows"]] == [list(SEEDS)] * (1 + len(sources))
    assert {(pair["a"], pair["b"]) for pair in results["pairs"]} == {
        ("a/kard/bm25", "a/finetune/none"),
        *((f"a/kard/{source}", "a/kard/bm25") for source in sources[1:-1]),
        *(("a/kard/silver", f"a/kard/{source}") for source in sources[:-1]),
    }
    assert results["errors"][0]["gold"] == "benchmark"
    page = (run / "comparison" / "report.html").read_text()
    assert "On which river does" in page
    assert "| KARD (reranker, two rounds) |" in (run / "comparison" / "results.md").read_text()

    further = ["a/kard/bm25:2", "a/finetune/none"]
    again = succeed(
        *command,
        "--set",
        f"compare.pairs=[[{', '.join(further)}]]",
        "--set",
        "compare.groups={towns: [town]}",
    )
    assert not again.ray_started, "another report is made of the answers that are there"
    assert "| KARD (BM25) |" in again.out
    pairs = json.loads((run / "comparison" / "results.json").read_text())["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs][len(results["pairs"]) :] == [tuple(further)]
    assert "Missing: compare.groups.towns: no question is of kind 'town'" in again.out


def test_a_student_that_fails_ends_no_other_and_is_missing_in_the_report(
    finished: Finished, world: World, tmp_path: Path
) -> None:
    run = copy_run(finished.folder, tmp_path / "run", "benchmark", "knowledge", "rationales", "silver")
    broken = shutil.copytree(world.t5, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])  # a download that ended early
    students: dict[str, Any] = {
        "good": {},
        "bad": {"student.model": str(broken), "student.max_failures": 0},
    }
    recipe = recipe_with(world, tmp_path / "compare.yaml", {"students": students}, methods=["finetune"])
    done = kard_ray("compare", recipe, "--run-dir", run)
    assert done.code == 2, done.err[-4000:]
    first, second = done.err.splitlines()[-2:]
    assert first.startswith("kard-ray: train/finetune (bad, seed 42): ")
    assert second == (
        "not made, because they need train/finetune (bad, seed 42): predict/finetune (bad, seed 42)."
    )
    results = json.loads((run / "comparison" / "results.json").read_text())
    assert [row["student"] for row in results["rows"]] == ["good"]
    (missing,) = results["missing"]
    assert missing["cell"] == "finetune, bad, seed 42"
    assert missing["reason"] == first.removeprefix("kard-ray: ")
