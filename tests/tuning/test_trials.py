from __future__ import annotations

import math
import uuid
from pathlib import Path

import pytest

from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.tuning.trials import Point, TrialBook, TrialRecord, best_of, plain


def book_in(root: str) -> TrialBook:
    run = RunDirectory(root)
    return TrialBook(run, f"{run.path}/sweep")


def record(number: int, state: str = "finished", score: float | None = 0.5, **more: object) -> TrialRecord:
    return TrialRecord.model_validate({"number": number, "values": {}, "state": state, "score": score} | more)


def test_another_process_reads_what_was_written() -> None:
    root = f"memory://{uuid.uuid4().hex}"
    book = book_in(root)
    values = {"a.float": 3.0, "a.int": 3, "a.word": "x", "a.flag": True, "a.none": None}
    points = (Point(epochs=1, value=0.25, metrics={"loss": 1.0}), Point(epochs=2, value=None))
    written = TrialRecord(number=3, values=values, points=points, seconds=1.5)
    book.write(record(10))
    book.write(written)
    again = book_in(root)
    assert again.records == [written, record(10)]
    assert [type(value) for value in again[3].values.values()] == [float, int, str, bool, type(None)]
    assert again.epochs == 2
    assert again.seconds >= 0


def test_the_clock_goes_on_where_it_was(tmp_path: Path) -> None:
    book = book_in(str(tmp_path))
    book.write(record(0))
    (tmp_path / "sweep" / "trials" / "seconds").write_text("1000.0\n")
    assert book_in(str(tmp_path)).seconds >= 1000


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    book_in(str(tmp_path)).write(record(0))
    path = tmp_path / "sweep" / "trials" / "0000.json"
    path.write_text("{")
    with pytest.raises(UserError, match=rf"{path} cannot be read .* delete it to have this trial run again"):
        book_in(str(tmp_path))


def test_a_trial_that_goes_back_to_a_checkpoint_has_no_point_twice() -> None:
    trial = TrialRecord(number=0, values={})
    for epochs, value in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.25)):
        trial = trial.with_point(Point(epochs=epochs, value=value))
    assert [(point.epochs, point.value) for point in trial.points] == [(1, 0.1), (2, 0.25)]
    assert trial.epochs == 2


def test_only_finished_trials_can_be_the_best() -> None:
    records = [record(0, score=0.5), record(1, "stopped", 0.9), record(2, score=0.7), record(3, score=0.7)]
    best = best_of(records, "max")
    assert best is not None
    assert best.number == 2
    worst = best_of(records, "min")
    assert worst is not None
    assert worst.number == 0
    assert best_of([record(0, "stopped"), record(1, score=None)], "max") is None


def test_a_trials_folder_is_forgotten_its_record_stays(tmp_path: Path) -> None:
    book = book_in(str(tmp_path))
    book.write(record(7))
    folder = tmp_path / "sweep" / "trials" / "0007"
    folder.mkdir()
    (folder / "weights").write_text("x")
    assert RunDirectory(book.url_of(7)).path == str(folder)
    book.forget(7)
    book.forget(8)
    assert not folder.exists()
    assert len(book_in(str(tmp_path)).records) == 1


def test_what_is_no_number_is_no_number_in_json() -> None:
    assert [plain(value) for value in (1, 0.5, math.nan, math.inf)] == [1.0, 0.5, None, None]
