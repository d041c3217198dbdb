"""The stage of Ray Data that holds vLLM engines, described by a driver that does not import vLLM.

Ray's own builder of such a stage imports vLLM to name its class, and starts an actor that reports usage. Importing vLLM
takes seconds, and the actor that holds the engine does it anyway, so here only the actor does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import ray
from ray.data.llm import vLLMEngineProcessorConfig
from ray.llm._internal.batch.stages.base import StatefulStage, StatefulStageUDF
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


def text_engine(config: vLLMEngineProcessorConfig, max_restarts: int) -> StatefulStage:
    """The stage of engines that write one text for each row of Ray's processor."""
    engine = _Named("ray.llm._internal.batch.stages.vllm_engine_stage", "vLLMEngineStageUDF")
    return _stage(config, max_restarts, {"engine": engine})


def dialogue_engine(config: vLLMEngineProcessorConfig, max_restarts: int, **more: Any) -> StatefulStage:
    """The stage of engines that answer dialogues; ``more`` is what DialogueEngine takes beside an engine's settings."""
    engine = _Named("kard_ray.runtime.vllm_dialogue", "DialogueEngine")
    return _stage(config, max_restarts, {"engine": engine, **more})


@dataclass(frozen=True, slots=True)
class _Named:
    """A class by its name; what a worker unpickles is the class.

    Not imported where the engine is made: then something that vLLM imports keeps hold of that place and the engine in
    it, and Ray, which ends an engine by letting go of it, kills it instead.
    """

    module: str
    name: str

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return _find, (self.module, self.name)


def _find(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


class Engine(StatefulStageUDF):
    """Stands for the class of an engine, whose arguments name it: an instance is one of that class."""

    def __new__(cls, *, engine: Callable[..., StatefulStageUDF], **arguments: Any) -> Any:
        """The engine itself."""
        return engine(**arguments)

    async def __call__(self, batch: Any) -> AsyncIterator[Any]:
        """Never called; by it Ray Data sees that an engine is asynchronous."""
        yield batch


def _stage(config: vLLMEngineProcessorConfig, max_restarts: int, more: dict[str, Any]) -> StatefulStage:
    """As ``build_vllm_engine_processor`` and ``vLLMEngineStage`` of Ray 2.60 do it."""
    bundles: list[dict[str, float]] = (config.placement_group_config or {})["bundles"]
    alone = len(bundles) == 1
    where: dict[str, Any]
    if alone:
        where = {"num_cpus": bundles[0].get("CPU", 0), "num_gpus": bundles[0].get("GPU", 0)}
    else:  # vLLM places its own workers in a group of the engine's, so Ray Data may not hold GPUs besides
        where = {"ray_remote_args_fn": partial(_in_a_group, bundles), "num_gpus": 0}
    return StatefulStage(
        fn=Engine,
        fn_constructor_kwargs={
            "batch_size": config.batch_size,
            "max_concurrent_batches": config.max_concurrent_batches,
            "model": config.model_source,
            "engine_kwargs": config.engine_kwargs
            | {"distributed_executor_backend": "uni" if alone else "ray"},
            "task_type": config.task_type,
            "should_continue_on_error": config.should_continue_on_error,
            "log_engine_metrics": config.log_engine_metrics,
        }
        | more,
        map_batches_kwargs={
            "zero_copy_batch": True,
            "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=config.get_concurrency()["max_size"]),
            "max_concurrency": config.max_concurrent_batches,  # batches in the engine at a time
            # By default Ray starts an engine that dies anew for ever, and the run never ends.
            "max_restarts": max_restarts,
            "runtime_env": config.runtime_env,
        }
        | where,
    )


def _in_a_group(bundles: list[dict[str, float]]) -> dict[str, Any]:
    """Ray's arguments of an engine's actor in a placement group of its own; called on the driver for each actor."""
    group = ray.util.placement_group(bundles, strategy="PACK")
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    return {"scheduling_strategy": strategy}
