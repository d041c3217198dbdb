"""Ray Train's edge: a trainer, its progress, and what is kept of its last checkpoint."""

from __future__ import annotations

import posixpath
from typing import Any
from uuid import uuid4

import ray.train
from fsspec.implementations.arrow import ArrowFSWrapper
from ray._private.services import get_webui_url_from_internal_kv
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2.api.callback import UserCallback

from kard_ray.runtime.allocator import allocator
from kard_ray.runtime.artifacts import PARTS, Artifact
from kard_ray.runtime.placement_groups import free_groups_of
from kard_ray.runtime.progress import Progress

CURVE_FILE = "curve.parquet"  # in a checkpoint: one row per optimizer step
EVALUATIONS_FILE = "evaluations.json"  # in a checkpoint: what was measured on held-out questions


def worker_environment(gpus: float) -> dict[str, Any]:
    """Runtime environment of workers with so many GPUs each."""
    return {} if gpus else {"env_vars": allocator()}


class ShowProgress(UserCallback):
    """Optimizer steps as progress of the stage; runs in Ray Train's controller, whose output reaches the driver."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.progress: Progress | None = None
        self.step = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Count the steps since worker 0's last report."""
        report = metrics[0]
        if self.progress is None:
            self.step = report["resumed_at_step"]
            self.progress = Progress(self.label, total=report["steps"], unit="steps", done=self.step)
        # A worker that died goes back to its last checkpoint: steps done again do not count twice.
        self.progress.advance(max(0, report["step"] - self.step))
        self.step = max(self.step, report["step"])


class _TellController(ControllerCallback):
    """Leaves the id of the controller's actor where the driver finds it."""

    def __init__(self, key: str) -> None:
        self.key = key

    def after_controller_start(self, train_run_context: Any) -> None:
        """Before anything is reserved."""
        _internal_kv_put(self.key, ray.get_runtime_context().get_actor_id() or "")


class Trainer(TorchTrainer):
    """A TorchTrainer that gives back what it reserved, without two of Ray's helpers where they have nothing to do.

    One hands out data sets: without any, an actor would start for nothing (1.4 s of a core). The other cleans up
    placement groups. It asks the dashboard every second whether the controller lives, and warns as often, or ends with
    a traceback, when there is none.
    """

    def fit(self) -> ray.train.Result:
        """As TorchTrainer's.

        A controller that dies, or whose helpers were killed for want of memory, leaves its workers' CPUs reserved: a
        comparison that goes on with its other steps would wait for them for ever.
        """
        self._controller_key = f"kard_ray/controller/{uuid4().hex}"
        try:
            return super().fit()
        finally:
            if controller := _internal_kv_get(self._controller_key):
                free_groups_of(controller.decode())
                _internal_kv_del(self._controller_key)

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]
        useless: list[type] = [] if self.datasets else [DatasetsCallback]
        if not get_webui_url_from_internal_kv():  # get_dashboard_url names one in workers where there is none
            useless.append(PlacementGroupCleanerCallback)
        callbacks.append(_TellController(self._controller_key))
        return [c for c in callbacks if not isinstance(c, tuple(useless))]


def scaling(workers: int, *, cpus: int, gpus: float) -> ScalingConfig:
    """So many workers, each with its CPUs and GPUs."""
    return ScalingConfig(
        num_workers=workers,
        use_gpu=gpus > 0,
        resources_per_worker={"CPU": cpus} | ({"GPU": gpus} if gpus else {}),
    )


def storage_of(artifact: Artifact) -> str:
    """Where Ray Train keeps the checkpoints of a training that makes ``artifact``."""
    path = artifact.at(PARTS)
    return path if artifact.run.is_local else artifact.url(PARTS)


def keep(checkpoint: ray.train.Checkpoint, name: str, artifact: Artifact) -> None:
    """Copy file or folder ``name``, if it is there, from the last checkpoint into the artifact."""
    source = ArrowFSWrapper(checkpoint.filesystem)
    kept = posixpath.join(checkpoint.path, name)
    if not source.exists(kept):
        return
    for path in source.find(kept):
        target = artifact.at(posixpath.relpath(path, checkpoint.path))
        artifact.run.fs.makedirs(posixpath.dirname(target), exist_ok=True)
        with source.open(path, "rb") as reader, artifact.run.fs.open(target, "wb") as writer:
            while block := reader.read(1 << 24):
                writer.write(block)
