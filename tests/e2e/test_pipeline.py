"""The whole way, with a real engine: artifacts, resume by key, the report, and new questions for a finished student."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Finished
from tests.e2e.world import (
    EPOCHS,
    METHODS,
    SAMPLES,
    STEPS,
    TEST,
    TEST_SAMPLES,
    TRAIN,
    World,
    copy_run,
    kard_ray,
    manifests,
    only,
    passages,
    questions,
    succeed,
    write_jsonl,
)

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.timeout(900)]

LABELS = (
    "benchmark", "knowledge", "contamination", "rationales", "silver", "train/finetune", "train/kard",
    "predict/finetune", "predict/kard", "report",
)  # fmt: skip


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_stage_leaves_one_sealed_artifact(finished: Finished) -> None:
    for label in LABELS:
        manifest = only(finished.folder, label)
        folder = manifest["folder"]
        found = {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
        assert found.pop("manifest.json") > 0
        # Every later version rewrites it
        found.pop("passages.lance/_versions/latest_version_hint.json", None)
        assert found == manifest["files"], label
        assert (manifest["stage"], manifest["key"]) == (label, folder.name)
        assert manifest["wall_seconds"] >= 0


def test_the_inputs_of_every_artifact_are_the_artifacts_before_it(finished: Finished) -> None:
    reads = {
        "benchmark": set(),
        "knowledge": set(),
        "contamination": {"benchmark", "knowledge"},
        "rationales": {"benchmark", "knowledge"},
        "silver": {"rationales", "knowledge"},
        "train/finetune": {"benchmark", "rationales"},
        "train/kard": {"benchmark", "rationales", "silver"},
        "predict/finetune": {"train/finetune"},
        "predict/kard": {"train/kard", "knowledge", "silver"},
        "report": {"predict/finetune", "predict/kard"},
    }
    for label, expected in reads.items():
        inputs = only(finished.folder, label)["inputs"]
        assert inputs == {name: only(finished.folder, name)["key"] for name in expected}, label


def test_what_reads_the_knowledge_base_names_its_version(finished: Finished) -> None:
    built = only(finished.folder, "knowledge")["counts"]
    version = {name: built[name] for name in ("knowledge_base_version", "knowledge_base_tag")}
    assert version["knowledge_base_tag"] == "build-1"
    for label in ("rationales", "silver", "train/kard", "predict/kard", "report"):
        assert only(finished.folder, label)["reads"] == version, label


def test_counts_add_up_from_questions_to_predictions(finished: Finished) -> None:
    run = finished.folder
    assert only(run, "benchmark")["rows"] == {"questions": TRAIN + TEST}
    assert only(run, "benchmark")["counts"] == {"train": TRAIN, "dev": 0, "test": TEST}
    assert only(run, "knowledge")["rows"] == {"passages": len(passages()), "failures": 0}

    rationales = only(run, "rationales")
    samples = TRAIN * SAMPLES + TEST * TEST_SAMPLES
    counts = rationales["counts"]
    assert rationales["rows"] == {"rationales": samples, "failures": 0}
    assert counts["samples"] == samples == counts["kept"] + sum(counts["dropped"].values())
    assert counts["questions"] == TRAIN + TEST
    table = pq.read_table(rationales["folder"] / "rationales.parquet")
    assert len(set(table["rationale_id"].to_pylist())) == samples
    assert counts["generated_tokens"] == sum(table["generated_tokens"].to_pylist()) > 0
    assert table["kept"].to_pylist() == [True] * samples, table["dropped_because"].to_pylist()

    assert only(run, "silver")["rows"] == {"silver": samples}
    assert only(run, "train/finetune")["rows"] == {"examples": TRAIN}
    assert only(run, "train/kard")["rows"] == {"examples": TRAIN * SAMPLES}
    assert only(run, "train/kard")["counts"]["steps"] == STEPS
    assert only(run, "predict/finetune")["rows"] == {"predictions": TEST}
    assert only(run, "predict/kard")["rows"] == {"predictions": TEST * 2, "searches": TEST}  # silver: none
    for method in METHODS:
        manifest = only(run, f"predict/{method}")
        assert manifest["counts"]["errors"] == 0
        ids = pq.read_table(manifest["folder"] / "predictions.parquet")["prediction_id"].to_pylist()
        assert len(set(ids)) == len(ids)


def test_the_report_tells_method_passages_accuracy_and_tokens(finished: Finished) -> None:
    records = json.loads((finished.folder / "report" / "results.json").read_text())
    assert [(r["method"], r["passages"]) for r in records] == [
        ("finetune", "none"),
        ("kard", "bm25"),
        ("kard", "silver"),
    ]
    for r in records:
        assert (r["benchmark"], r["split"], r["n"]) == ("towns", "test", TEST)
        assert 0 <= r["ci_low"] <= r["accuracy"] <= r["ci_high"] <= 1
        assert r["accuracy"] == r["correct"] / r["n"]
        assert r["prompt_tokens"] > 0
        assert 0 < r["generated_tokens"] <= 16 * TEST
        _, by_kind = r.pop("by_kind").popitem()
        assert by_kind.items() <= r.items()
    none, bm25, silver = records
    assert (none["k"], none["hits_at_k"]) == (0, None)
    # A question names its town, and so does its gold passage
    assert (bm25["k"], bm25["hits_at_k"]) == (2, 1.0)
    assert 0 <= silver["hits_at_k"] <= 1
    assert bm25["prompt_tokens"] > none["prompt_tokens"]

    flat = pq.read_table(finished.folder / "report" / "results.parquet").to_pylist()
    overall = [row for row in flat if row["kind"] == ""]
    assert [(row["method"], row["passages"], row["accuracy"]) for row in overall] == [
        (r["method"], r["passages"], r["accuracy"]) for r in records
    ]


def test_the_output_shows_the_tables_and_where_the_results_are(finished: Finished) -> None:
    assert "towns, test split, n = 8" in finished.outcome.out
    assert f"results: {finished.folder}/report/results.json" in finished.outcome.err
    for label in LABELS:
        assert f"[kard-ray] {label}: done in" in finished.outcome.err
    # The driver's own lines: a worker's line has its name before it (Python 3.11's resource tracker may complain when
    # an engine ends).
    assert not any(line.startswith("Traceback") for line in finished.outcome.err.splitlines())


def test_a_second_run_does_nothing_and_starts_no_ray(finished: Finished, world: World) -> None:
    before = snapshot(finished.folder / "knowledge")
    again = succeed("run", world.recipe, "--run-dir", finished.folder)
    assert not again.ray_started
    assert [line for line in again.err.splitlines() if line.endswith("skipped")] == [
        f"[kard-ray] {label}: finished before, skipped" for label in LABELS
    ]
    assert again.seconds < 60
    assert snapshot(finished.folder / "knowledge") == before
    assert "towns, test split, n = 8" in again.out


def test_a_dry_run_of_a_finished_run_skips_everything_and_writes_nothing(
    finished: Finished, world: World
) -> None:
    before = snapshot(finished.folder)
    plan = succeed("run", world.recipe, "--run-dir", finished.folder, "--dry-run")
    for label in LABELS:
        assert re.search(rf"│ {label} +│ skip: finished", plan.out), plan.out
    assert snapshot(finished.folder) == before
    assert not plan.ray_started


def test_the_dry_run_names_the_field_that_changed(finished: Finished, world: World) -> None:
    plan = succeed(
        "run", world.recipe, "--run-dir", finished.folder, "--dry-run", "--set", "student.epochs=2"
    )
    text = re.sub(r"[\s│]+", " ", plan.out)  # a long cell is folded over several lines
    for label in ("benchmark", "knowledge", "rationales", "silver"):
        assert f"{label} skip: finished" in text
    for method in METHODS:
        assert f"train/{method} run: changed: epochs: {EPOCHS}.0 -> 2.0" in text
        assert f"predict/{method} run: changed: input train/{method} is another one" in text
    assert "report run: changed: input predict/finetune is another one" in text


def test_a_changed_field_redoes_what_depends_on_it_and_keeps_the_old(
    finished: Finished, retrained: Finished, world: World
) -> None:
    log = retrained.outcome.err
    for label in ("benchmark", "knowledge", "rationales", "silver"):
        assert f"{label}: finished before, skipped" in log
        assert snapshot(retrained.folder / label).keys() == snapshot(finished.folder / label).keys()
    for label in ("train/kard", "predict/kard", "report"):
        assert f"{label}: starts (changed: " in log
        old, new = manifests(retrained.folder, label)
        assert old["key"] == only(finished.folder, label)["key"] != new["key"]
    assert [m["counts"]["steps"] for m in manifests(retrained.folder, "train/kard")] == [
        STEPS,
        2 * STEPS // EPOCHS,
    ]
    records = json.loads((retrained.folder / "report" / "results.json").read_text())
    assert [(r["method"], r["passages"]) for r in records] == [("kard", "bm25"), ("kard", "silver")]
    assert all(0 < r["generated_tokens"] <= 16 * TEST for r in records)


def test_going_back_to_the_old_field_finds_the_old_work_and_the_old_results(
    finished: Finished, retrained: Finished, world: World, tmp_path: Path
) -> None:
    run = copy_run(retrained.folder, tmp_path / "back")
    back = succeed("run", world.recipe, "--run-dir", run)
    assert not back.ray_started
    for name in ("results.json", "stages.json"):
        expected = (finished.folder / "report" / name).read_text()
        assert (run / "report" / name).read_text() == expected


def test_new_questions_are_answered_and_the_last_line_is_the_accuracy(
    finished: Finished, world: World, tmp_path: Path
) -> None:
    run = copy_run(finished.folder, tmp_path / "run")
    new = write_jsonl(tmp_path / "new.jsonl", questions([1, 3, 15], prefix="new-"))
    out = tmp_path / "deep" / "predictions.parquet"
    command = ("evaluate", run, "--method", "kard", "--questions", new, "--out", out)
    done = succeed(*command)
    last = done.out.splitlines()[-1]
    numbers = re.fullmatch(r"accuracy (\d\.\d{3}) \[(\d\.\d{3}), (\d\.\d{3})\] n=3", last)
    assert numbers, done.out
    accuracy, low, high = map(float, numbers.groups())
    assert 0 <= low <= accuracy <= high <= 1
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    assert sorted(row["question_id"] for row in rows) == ["new-1", "new-15", "new-3"]
    assert {row["source"] for row in rows} == {"bm25"}  # nobody knows the rationale of a new question
    assert sum(row["correct"] for row in rows) / 3 == pytest.approx(accuracy, abs=5e-4)
    for row in rows:
        town = row["question_id"].removeprefix("new-")
        assert questions([int(town)])[0]["passages"][0] in row["passage_ids"]

    again = succeed(*command)
    assert again.out.splitlines()[-1] == last
    assert not again.ray_started


def test_evaluate_names_the_students_there_are(finished: Finished, tmp_path: Path) -> None:
    new = write_jsonl(tmp_path / "new.jsonl", questions([1]))
    done = kard_ray("evaluate", finished.folder, "--method", "std_cot", "--questions", new)
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"kard-ray: --method std_cot: the run {finished.folder} has students for finetune, kard; choose one."
    )


def test_without_vllm_the_stage_says_what_to_install(
    finished: Finished, world: World, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'vllm' else find(name, *rest)\n"
    )
    run = copy_run(finished.folder, tmp_path / "run", "benchmark", "knowledge")
    done = kard_ray("rationales", world.recipe, "--run-dir", run, PYTHONPATH=str(tmp_path))
    assert done.code == 2
    assert "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("kard-ray: vLLM is not installed")
    assert "kard-ray[cpu]" in last
