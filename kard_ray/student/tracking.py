"""The learning curve: every optimizer step in the artifact, and in TensorBoard and MLflow if asked for."""

from __future__ import annotations

import logging
import os
import posixpath
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Protocol

import fsspec
import pyarrow as pa

from kard_ray.runtime.errors import UserError

logger = logging.getLogger(__name__)

TENSORBOARD_FOLDER = "tensorboard"

# One row per optimizer step, without gaps, however often the training was interrupted.
CURVE = pa.schema(
    [
        pa.field("step", pa.int32()),  # from 1
        pa.field("stage", pa.int32()),  # of the curriculum
        pa.field("loss", pa.float64()),  # nats per target token
        pa.field("learning_rate", pa.float64()),
        pa.field("gradient_norm", pa.float64()),  # before clipping
        pa.field("tokens_per_second", pa.float64()),  # prompt and target, without padding, of all workers
    ]
)

_MLFLOW_BATCH = 1000  # metrics in one request, MLflow's limit
_MLFLOW_TAG = "kard_ray.student"


class Tracker(Protocol):
    """Somebody who shows the curve while it grows."""

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Show ``rows``: each has a ``step`` and numbers by name."""
        ...

    def close(self) -> None:
        """The training is over."""
        ...


class TensorBoard:
    """Event files under ``url``; on a remote file system they are copied there at every writing."""

    def __init__(self, url: str, *, resumed_at: int) -> None:
        # Not SummaryWriter: its flush does not wait for its own thread, and a killed process would lose steps.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._fs, self._target = fsspec.core.url_to_fs(url)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._folder = self._target
        if isinstance(self._fs, fsspec.get_filesystem_class("file")):
            os.makedirs(self._folder, exist_ok=True)
        else:
            self._temporary = tempfile.TemporaryDirectory()
            self._folder = self._temporary.name
        # Readers take files in the order of their names, which begin with the second of their making.
        self._writer = EventsWriter(os.path.join(self._folder, "events"), f".{resumed_at:09}")
        self._event = Event
        if resumed_at:
            # What an earlier attempt wrote of steps after its last checkpoint is not shown.
            self._write(step=resumed_at + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, **parts: Any) -> None:
        self._writer.write_event(self._event(wall_time=time.time(), **parts))

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """As :meth:`Tracker.write`."""
        from tensorboardX.summary import scalar

        for row in rows:
            for name, value in row.items():
                if name != "step":
                    self._write(step=row["step"], summary=scalar(name, value))
        self._writer.flush()
        if self._temporary is not None:
            for name in os.listdir(self._folder):
                self._fs.makedirs(self._target, exist_ok=True)
                self._fs.put_file(os.path.join(self._folder, name), posixpath.join(self._target, name))

    def close(self) -> None:
        """As :meth:`Tracker.close`."""
        self._writer.close()
        if self._temporary is not None:
            self._temporary.cleanup()


class MLflow:
    """One MLflow run per training: a resumed one goes on with the run that it began."""

    def __init__(self, uri: str, *, student: str, settings: dict[str, Any]) -> None:
        # A server that is down must not hold up the training: by default MLflow asks again for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        import mlflow
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._metric, self._failure = Metric, MlflowException
        self._waiting: list[dict[str, Any]] = []
        try:
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            experiment = mlflow_experiment(self._client)
            begun = self._client.search_runs(
                [experiment],
                f"tags.`{_MLFLOW_TAG}` = '{student}' and attributes.status = 'RUNNING'",
                max_results=1,
            )
            run = begun[0] if begun else self._client.create_run(
                experiment, run_name=student, tags={_MLFLOW_TAG: student}
            )  # fmt: skip
            self._run: str = run.info.run_id
            if not begun:
                params = [Param(name, str(value)[:500]) for name, value in settings.items()]
                self._client.log_batch(self._run, params=params)
            # An attempt may have written more steps than its last checkpoint has: they are not written again.
            self._known = {
                name: max((m.step for m in self._client.get_metric_history(self._run, name)), default=0)
                for name in run.data.metrics
            }
        except MlflowException as error:
            raise UserError(
                f"field student.mlflow_uri: MLflow at {uri} cannot be used ({str(error).splitlines()[0][:200]}); start "
                "its server, mend the address, or take mlflow out of student.tracking."
            ) from error

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """As :meth:`Tracker.write`; what cannot be written now is tried again the next time."""
        self._waiting += rows
        now = int(time.time() * 1000)
        metrics = [
            self._metric(name, float(value), now, row["step"])
            for row in self._waiting
            for name, value in row.items()
            if name != "step" and row["step"] > self._known.get(name, 0)
        ]
        try:
            for at in range(0, len(metrics), _MLFLOW_BATCH):
                batch = metrics[at : at + _MLFLOW_BATCH]
                self._client.log_batch(self._run, metrics=batch)
                for metric in batch:
                    self._known[metric.key] = metric.step
        except self._failure as error:
            logger.warning(
                "MLflow cannot be reached (%s): training goes on, and %d steps wait for it",
                str(error).splitlines()[0][:200],
                len(self._waiting),
            )
            return
        self._waiting = []

    def close(self) -> None:
        """As :meth:`Tracker.close`."""
        try:
            self._client.set_terminated(self._run)
        except self._failure as error:
            logger.warning("MLflow was not told that its run is over (%s)", str(error).splitlines()[0][:200])


def mlflow_experiment(client: Any) -> str:
    """Id of the experiment that all students are runs of; made if it is not there."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name("kard-ray")
    if found is None:
        try:
            return str(client.create_experiment("kard-ray"))
        except MlflowException:  # another training made it in the meantime
            found = client.get_experiment_by_name("kard-ray")
            if found is None:
                raise
    return str(found.experiment_id)
