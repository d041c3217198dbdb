"""Learning curves, read back with TensorBoard's and MLflow's own readers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kard_ray.runtime.errors import UserError
from kard_ray.student.tracking import MLflow, TensorBoard


def rows(first: int, last: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": 1 / step, "learning_rate": 0.1 * step} for step in range(first, last + 1)]


def events(folder: Path, name: str) -> list[tuple[int, float]]:
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars(name)]


def expected(name: str, last: int) -> list[tuple[int, float]]:
    return [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows(1, last)]


def test_tensorboard_reads_every_step_once_after_a_resume(tmp_path: Path) -> None:
    killed = TensorBoard(str(tmp_path), resumed_at=0)
    killed.write(rows(1, 3))
    killed.write(rows(4, 7))  # the checkpoint had 5 steps; the process died here
    resumed = TensorBoard(str(tmp_path), resumed_at=5)
    resumed.write(rows(6, 9))
    resumed.close()
    assert events(tmp_path, "loss") == expected("loss", 9)
    assert events(tmp_path, "learning_rate") == expected("learning_rate", 9)


def test_tensorboard_files_reach_a_run_that_is_not_local(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    tracker = TensorBoard("memory://run/tensorboard", resumed_at=0)
    tracker.write(rows(1, 2))
    tracker.write(rows(3, 4))
    tracker.close()
    memory.get("/run/tensorboard/", f"{tmp_path}/", recursive=True)
    assert events(tmp_path, "loss") == expected("loss", 4)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def history(uri: str, student: str, name: str) -> list[list[tuple[int, float]]]:
    """Of each MLflow run of ``student``, oldest first."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("kard-ray").experiment_id
    runs = client.search_runs([experiment], f"attributes.run_name = '{student}'", order_by=["start_time ASC"])
    return [
        sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)) for run in runs
    ]


def test_mlflow_has_every_step_once_after_a_resume_and_a_new_training_is_a_new_run(database: str) -> None:
    killed = MLflow(database, student="train/kard/1", settings={"epochs": 3})
    killed.write(rows(1, 7))  # the checkpoint had 5 steps; the process died here
    resumed = MLflow(database, student="train/kard/1", settings={"epochs": 3})
    resumed.write(rows(6, 9))
    resumed.write([{"step": 9, "held_out_loss": 0.5}])
    resumed.close()
    assert history(database, "train/kard/1", "loss") == [expected("loss", 9)]
    assert history(database, "train/kard/1", "held_out_loss") == [[(9, 0.5)]]
    anew = MLflow(database, student="train/kard/1", settings={"epochs": 3})
    anew.write(rows(1, 2))
    anew.close()
    assert history(database, "train/kard/1", "loss") == [expected("loss", 9), expected("loss", 2)]


def test_more_steps_than_one_request_may_have_are_all_written(database: str) -> None:
    tracker = MLflow(database, student="train/kard/2", settings={})
    tracker.write(rows(1, 700))  # 1,400 metrics
    tracker.close()
    assert history(database, "train/kard/2", "loss") == [expected("loss", 700)]


def rename(database: Path, table: str, name: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_an_mlflow_that_fails_in_the_middle_gets_everything_later(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    tracker = MLflow(uri, student="train/kard/3", settings={})
    tracker.write(rows(1, 2))
    rename(path, "metrics", "away")
    tracker.write(rows(3, 4))
    rename(path, "away", "metrics")
    tracker.write(rows(5, 6))
    tracker.close()
    assert history(uri, "train/kard/3", "loss") == [expected("loss", 6)]


def test_an_mlflow_that_cannot_be_used_is_a_sentence() -> None:
    with pytest.raises(
        UserError, match=r"student\.mlflow_uri: MLflow at http://127\.0\.0\.1:9 cannot be used"
    ):
        MLflow("http://127.0.0.1:9", student="train/kard/4", settings={})
