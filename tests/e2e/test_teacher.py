"""The teacher behind a real HTTP server: killed, short of budget, refused; nothing is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e import teacher_faults as faults
from tests.e2e.conftest import Finished
from tests.e2e.world import World, copy_run, kard_ray, only, succeed
from tests.teacher.backends.endpoint_server import Behaviour, read_log, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EXPECTED = faults.QUESTIONS * faults.SAMPLES


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults.write_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="module")
def prepared(
    finished: Finished, world: World, questions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = copy_run(finished.folder, tmp_path_factory.mktemp("runs") / "prepared", "knowledge")
    faults.prepare(world, run, questions)
    return run


# Seed 1 kills the driver, seed 7 the worker that asks, both somewhere in the middle.
@pytest.mark.parametrize("seed", [1, 7])
def test_a_kill_repeats_only_requests_in_flight(
    world: World, questions: Path, prepared: Path, tmp_path: Path, seed: int
) -> None:
    run = copy_run(prepared, tmp_path / "run")
    with faults.server(tmp_path) as (url, log):
        arguments = faults.command(world, run, questions, faults.endpoint(url))
        killed = faults.with_one_kill(arguments, run, seed, tmp_path / "log")
    assert killed is not None
    assert killed.target == {1: "driver", 7: "worker"}[seed]
    different, again = faults.repeated(log)
    assert different == EXPECTED
    assert again <= faults.CONCURRENCY
    table = faults.rationales(run)
    assert table.num_rows == EXPECTED
    assert all(table["kept"].to_pylist())


def test_a_budget_ends_the_stage_and_keeps_what_was_paid_for(
    world: World, questions: Path, prepared: Path, tmp_path: Path
) -> None:
    run = copy_run(prepared, tmp_path / "run")
    with faults.server(tmp_path, latency=(0.0, 0.02)) as (url, log):
        backend = faults.endpoint(url)
        arguments = faults.command(world, run, questions, backend | {"budget_tokens": 30_000})
        short = kard_ray(*arguments)
        assert short.code == 2
        assert "The token budget is reached" in short.err
        assert f"of {EXPECTED} texts are finished and kept" in short.err
        paid = faults.written(run)
        assert 0 < paid < EXPECTED
        succeed(*faults.command(world, run, questions, backend))
    assert faults.repeated(log) == (EXPECTED, 0)


def test_a_refused_key_is_one_sentence_and_costs_one_round_of_requests(
    world: World, questions: Path, prepared: Path, tmp_path: Path
) -> None:
    run = copy_run(prepared, tmp_path / "run")
    key = tmp_path / "key"
    key.write_text("sk-not-the-right-one-0123456789")
    key.chmod(0o600)
    log = tmp_path / "requests.jsonl"
    with serving(log, Behaviour(key="sk-the-right-one")) as server:
        backend = faults.endpoint(server.url) | {"key_file": str(key)}
        refused = kard_ray(*faults.command(world, run, questions, backend))
    assert refused.code == 2
    assert "teacher.backend" in refused.err
    assert "Traceback" not in refused.err
    assert "sk-not" not in refused.out + refused.err
    assert len(server.received()) <= 2 * faults.CONCURRENCY
    files = [path for path in run.rglob("*") if path.is_file()]
    assert not any(b"sk-not" in path.read_bytes() for path in files)


def test_symbolic_knowledge_is_written_read_compressed_and_given_examples(
    world: World, questions: Path, prepared: Path, tmp_path: Path
) -> None:
    run = copy_run(prepared, tmp_path / "run")
    with faults.server(tmp_path, latency=(0.0, 0.01)) as (url, log):
        _, *arguments = faults.command(world, run, questions, faults.endpoint(url))
        for name, value in (
            ("questions.train", 40),
            ("symbolic", {"rationales": 1, "retries": 2}),
            ("curriculum.compression", {"kind": "self_information", "model": str(world.llama)}),
            ("curriculum.examples", 6),
        ):
            arguments += ["--set", f"{name}={json.dumps(value)}"]
        for stage in ("rationales", "symbolic", "compression", "examples"):
            succeed(stage, *arguments)
        asked = len(read_log(log))
        again = succeed("symbolic", *arguments)
        assert "symbolic: finished before, skipped" in again.err
        assert len(read_log(log)) == asked
    symbolic, compressed = only(run, "symbolic"), only(run, "compression")
    by_attempt = symbolic["counts"]["read_at_attempt"]
    assert len(by_attempt) > 1  # every fourth text cannot be read at first
    assert sum(by_attempt.values()) + symbolic["counts"]["failures"] == 40
    assert asked == 40 * faults.SAMPLES + 40 + (40 - by_attempt["0"]) + (
        40 - by_attempt["0"] - by_attempt["1"]
    )

    rows = pq.read_table(compressed["folder"] / "compressed.parquet").to_pylist()
    whole = pq.read_table(symbolic["folder"] / "symbolic.parquet").to_pylist()
    texts = {row["rationale_id"]: (row["summary"], row["supplement"]) for row in whole}
    assert len(rows) == 4 * len(texts)
    for row in rows:
        if row["stage"] == 1:
            assert (row["summary"], row["supplement"]) == texts[row["rationale_id"]]
        if row["stage"] == 4:
            assert (row["summary"], row["supplement"]) == ("", "")
    counts = compressed["counts"]
    for wanted, achieved in zip(counts["asked_fractions"], counts["achieved_fractions"], strict=True):
        assert abs(wanted - achieved) <= 0.03

    shots = pq.read_table(only(run, "examples")["folder"] / "examples.parquet").to_pylist()
    train = {row["question_id"] for row in shots}
    assert len(train) == 40
    assert train >= {row["question_id"] for row in whole}
    for row in shots:
        assert len(set(row["shots"])) == 6
        assert set(row["shots"]) <= train - {row["question_id"]}
