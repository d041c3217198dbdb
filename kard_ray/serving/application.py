"""The graph of deployments: ingress, retriever, reranker, students, table of verdicts."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import Any

import ray.cloudpickle
from ray import serve
from ray.serve.schema import ApplicationStatus, LoggingConfig

from kard_ray import __version__
from kard_ray.runtime.engine import engine_environment, resolve_device
from kard_ray.serving.config import Scaling, ServingConfig
from kard_ray.serving.deployments import FeedbackPart, SearchPart, StudentPart, without_students
from kard_ray.serving.door import CALLBACK, LIMITS
from kard_ray.serving.ingress import Ingress
from kard_ray.serving.plan import EnginePlan, ServicePlan, students_as_json

NAME = "kard-ray"  # of the application
_INGRESS_AT_ONCE = 1000  # requests of one replica; its own limits are far below
_HEALTH_PERIOD, _HEALTH_TIMEOUT = 5.0, 20.0  # seconds; looks every 2 s took more of an engine's cores
_WAIT_LOOP = 0.2  # seconds between two looks at what drains
_RETRIES = 3  # of a replica whose start fails


def serve_environment(config: ServingConfig) -> dict[str, str]:
    """Environment of Serve's own processes, without which they are slower, and a lost ingress is not made up for.

    One event loop per replica instead of three, gRPC between replicas, and no log line written one by one: together
    half of the time of a small request (measured). Ray's workers are at niceness 15; people wait for these. The
    controller's loop, ten times a second, took 2.5 % of a core that an engine on a CPU has better use for.
    """
    return {
        "RAY_worker_niceness": "0",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": CALLBACK,
        LIMITS: f"{config.max_body_kib},{config.body_seconds:g},{config.deadline_seconds:g}",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "100",
    }


def build_application(plan: ServicePlan) -> serve.Application:
    """The application of ``plan``; a part whose plan has not changed goes on running when it is deployed again."""
    config = plan.config
    versions = list(plan.knowledge.versions)
    # Versions come by reconfigure, so that another one is opened beside those before it.
    knowledge = replace(plan.knowledge, versions=())
    retriever = _deployment(
        SearchPart, "retriever", config, config.retriever, at_once=64, user_config={"versions": versions},
        arguments=(knowledge,), reranked=False,
    )  # fmt: skip
    reranker = None
    if knowledge.reranker is not None:
        reranker = _deployment(
            SearchPart, "reranker", config, config.reranker, at_once=64, user_config={"versions": versions[:1]},
            arguments=(knowledge,), reranked=True,
        )  # fmt: skip
    feedback = _deployment(
        FeedbackPart, "feedback", config, Scaling(cpus=0.05), at_once=256, arguments=(plan.feedback,)
    )
    engines = {engine.name: _student(engine, config) for engine in plan.engines}
    return _deployment(
        Ingress, "ingress", config, config.ingress, at_once=_INGRESS_AT_ONCE,
        user_config=plan.routing.model_dump(mode="json"),
        arguments=(config, retriever, reranker, feedback, engines, plan.tokens),
        # What it is given counts by the names of the parts: that they are others inside is no reason to start anew.
        counts=(config, knowledge.reranker is not None, sorted(engines), plan.tokens),
    )  # fmt: skip


def finish(plan: ServicePlan) -> bool:
    """Let the service take nothing more; returns whether all that it had begun was finished within its time."""
    ending = replace(plan, routing=plan.routing.model_copy(update={"ending": True}))
    target = serve.RunTarget(build_application(ending), name=NAME, route_prefix="/")
    serve.run_many([target], wait_for_applications_running=False)
    until = time.monotonic() + plan.config.drain_seconds
    while serve.status().applications[NAME].status != ApplicationStatus.RUNNING:
        if time.monotonic() > until:
            return False
        time.sleep(_WAIT_LOOP)
    return True


def _student(engine: EnginePlan, config: ServingConfig) -> serve.Application:
    device = resolve_device(engine.config.device)
    workers = engine.config.tensor_parallel * engine.config.pipeline_parallel
    scaling = config.student
    environment = {} if engine.encoder_decoder else engine_environment(
        engine.config.model_copy(update={"replicas": scaling.max_replicas}), device
    )  # fmt: skip
    if device == "gpu" and not scaling.gpus:
        scaling = scaling.model_copy(update={"gpus": float(workers)})
    return _deployment(
        StudentPart, engine.name, config, scaling, at_once=2 * engine.config.max_sequences,
        user_config={"students": students_as_json(engine.students)},
        arguments=(without_students(engine), config.health_seconds), environment=environment,
    )  # fmt: skip


def _deployment(
    part: Any, name: str, config: ServingConfig, scaling: Scaling, *, at_once: int, arguments: tuple[Any, ...],
    user_config: dict[str, Any] | None = None, environment: dict[str, str] | None = None, counts: Any = None,
    **more: Any,
) -> serve.Application:  # fmt: skip
    options: dict[str, Any] = {
        "name": name,
        "max_ongoing_requests": at_once,
        "ray_actor_options": {"num_cpus": scaling.cpus, "num_gpus": scaling.gpus},
        "graceful_shutdown_timeout_s": config.drain_seconds,
        "graceful_shutdown_wait_loop_s": _WAIT_LOOP,
        "health_check_period_s": _HEALTH_PERIOD,
        "health_check_timeout_s": _HEALTH_TIMEOUT,
        "max_constructor_retry_count": _RETRIES,
        "max_surge_percent": 100 if config.surge else 0,
        "logging_config": LoggingConfig(encoding="JSON", enable_access_log=False),
        "user_config": user_config,
    }
    if environment:
        options["ray_actor_options"]["runtime_env"] = {"env_vars": environment}
    if scaling.max_replicas > scaling.min_replicas:
        options["autoscaling_config"] = {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": scaling.target_ongoing,
            "upscale_delay_s": scaling.upscale_seconds,
            "downscale_delay_s": scaling.downscale_seconds,
            "metrics_interval_s": 1.0,
            "look_back_period_s": max(2.0, scaling.upscale_seconds),
        }
    else:
        options["num_replicas"] = scaling.min_replicas
    version = _version(__version__, arguments if counts is None else counts, more, environment)
    made: Any = serve.deployment(part)
    return made.options(**options, version=version, _internal=True).bind(*arguments, **more)


def _version(*parts: Any) -> str:
    """The same for the same plan: Serve starts a part's replicas anew when it is another one."""
    return hashlib.sha256(ray.cloudpickle.dumps(parts)).hexdigest()[:16]
