"""A worker or the driver of an ingest is killed at a random moment: the same passages are there in the end.

``benchmarks/ingest_faults.py`` does the same twenty times.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.faults import DOCUMENTS, build_with_one_kill, command, final_ids, write_corpus
from tests.e2e.world import World, kill_when, only, succeed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_after_a_killed_worker_every_passage_is_there_once(world: World, tmp_path: Path) -> None:
    expected = write_corpus(tmp_path)
    killed = build_with_one_kill(world, tmp_path, tmp_path / "run", 3, log=tmp_path / "log", target="worker")
    assert killed is not None
    assert killed.target == "worker"
    assert final_ids(tmp_path / "run") == expected


def test_fragments_written_before_the_driver_was_killed_are_used(world: World, tmp_path: Path) -> None:
    expected, run = write_corpus(tmp_path), tmp_path / "run"
    arguments = command(world, tmp_path, run)
    kill_when(lambda: list(run.glob("knowledge/*/_parts/written/*.json")), *arguments, log=tmp_path / "log")
    records = [json.loads(path.read_text()) for path in run.glob("knowledge/*/_parts/written/*.json")]
    done = succeed(*arguments)
    kept = sum(record["rows"] for record in records)
    assert f"{kept} of {DOCUMENTS} passages were finished before and are kept" in done.out + done.err
    assert final_ids(run) == expected
    assert only(run, "knowledge")["rows"] == {"passages": DOCUMENTS, "failures": DOCUMENTS // 10}
