"""Verdicts are kept whole, together, and again after a disk that was full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import lance
import pytest

from kard_ray.serving import feedback as module
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.feedback import FeedbackTable, read_feedback

Run = Callable[[Awaitable[Any]], Any]


def row(number: int) -> dict[str, Any]:
    return {
        "feedback_id": f"f{number}", "created": float(number), "given_by": "anna", "verdict": "right",
        "answer_id": "ans_1", "question": "Which river?", "options": [], "rationale": "", "passage_ids": [],
    }  # fmt: skip


def kept(folder: Path) -> list[str]:
    found: list[str] = read_feedback(str(folder))["feedback_id"].to_pylist()
    return found


def test_verdicts_that_come_together_are_all_kept(tmp_path: Path, run: Run) -> None:
    tables = [FeedbackTable(str(tmp_path)) for _ in range(2)]  # while one replica follows another

    async def many() -> None:
        await asyncio.gather(*(tables[number % 2].keep(row(number)) for number in range(40)))

    run(many())
    assert sorted(kept(tmp_path)) == sorted(f"f{number}" for number in range(40))


def test_a_table_that_could_not_be_written_is_found_mended_without_a_verdict(
    tmp_path: Path, run: Run
) -> None:
    table = FeedbackTable(str(tmp_path / "feedback"))
    (tmp_path / "feedback").rename(tmp_path / "away")
    (tmp_path / "feedback").write_text("in the way")  # nothing can be written here, also not by root
    with pytest.raises(ServiceError) as refused:
        run(table.keep(row(1)))
    assert (refused.value.status, refused.value.code) == (503, "unavailable")
    run(table.probe())
    assert "cannot be kept" in (table.broken or "")
    (tmp_path / "feedback").unlink()
    (tmp_path / "away").rename(tmp_path / "feedback")
    run(table.probe())
    assert table.broken is None
    run(table.keep(row(2)))
    assert kept(tmp_path / "feedback") == ["f2"]


def test_small_pieces_are_merged_while_the_service_runs(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FRAGMENTS", 5)
    table = FeedbackTable(str(tmp_path))
    for number in range(20):
        run(table.keep(row(number)))
    assert kept(tmp_path) == [f"f{number}" for number in range(20)]
    assert len(lance.dataset(table.uri).get_fragments()) <= 6
