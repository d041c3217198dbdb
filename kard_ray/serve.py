"""``kard-ray serve``: put the students of a finished run online; also what ``serve deploy jobs/serve.yaml`` builds.

Deployed again on a running cluster, only the parts whose plan has changed start anew, and new replicas of them before
old ones stop: students and knowledge versions change without a failed request.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kard_ray.evaluation.sources import RERANKED, searched
from kard_ray.knowledge.indexes import check_indexes
from kard_ray.knowledge.settings import read_settings
from kard_ray.knowledge.versions import find_version
from kard_ray.pipeline import Pipeline, read_run_recipe
from kard_ray.recipe import Recipe, override_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import require_vllm
from kard_ray.runtime.errors import UserError, explain
from kard_ray.runtime.models import resolve_model
from kard_ray.serving.config import ServedStudent, ServingConfig
from kard_ray.serving.plan import EnginePlan, KnowledgePlan, ServicePlan, StudentPlan
from kard_ray.serving.routing import Routing, StudentCard
from kard_ray.serving.tokens import read_tokens
from kard_ray.student.methods.registry import METHODS, MethodName

if TYPE_CHECKING:
    from ray.serve import Application

    from kard_ray.evaluation.predict import Prediction

TOKENS_FILE = "tokens.json"
FEEDBACK_FOLDER = "feedback"
_PREFERRED: MethodName = "kard"


class ServeArguments(Frozen):
    """Arguments of the application in a Serve configuration file."""

    run_dir: str
    set: tuple[str, ...] = ()  # overrides, such as serving.max_running=32


def application(arguments: dict[str, Any]) -> Application:
    """The application for a Serve configuration file (``import_path: kard_ray.serve:application``)."""
    from kard_ray.serving.application import build_application

    given = ServeArguments.model_validate(arguments)
    return build_application(plan_service(*open_run(given.run_dir, given.set)))


def open_run(run_dir: str, overrides: Iterable[str]) -> tuple[Recipe, RunDirectory]:
    """The recipe of a run with ``overrides`` of its groups serving and cluster, and the run's directory.

    Raises UserError when it is no run directory, or another group is to be changed.
    """
    overrides = list(overrides)
    for override in overrides:
        if not override.startswith(("serving.", "cluster.")):
            raise UserError(
                f"--set {override}: a finished run is served as it was made; only fields of serving and cluster can be "
                "set."
            )
    run = RunDirectory(run_dir)
    recipe = override_recipe(read_run_recipe(run), overrides)
    if not run.is_local:
        raise UserError(
            f"run directory {run_dir}: models are opened by path; copy it to a disk that every node sees."
        )
    return recipe, run


def serve(run_dir: str, *, overrides: Iterable[str]) -> None:
    """Put the run's students online; on a cluster of its own until this process is told to end."""
    from ray import serve as ray_serve

    from kard_ray.runtime.session import start_ray, starts_its_own, stop_ray
    from kard_ray.serving.application import NAME, build_application, finish, serve_environment

    recipe, run = open_run(run_dir, overrides)
    plan = plan_service(recipe, run)
    config = plan.config
    start_ray(recipe.cluster, serve_environment(config))
    stop = _told_to_end()  # after Ray has started, which sets a handler of its own
    own = starts_its_own(recipe.cluster)
    try:
        ray_serve.start(http_options={"host": config.host, "port": config.port})
        _say(f"starting {', '.join(card.name for card in plan.routing.students)}")
        try:
            ray_serve.run(build_application(plan), name=NAME, route_prefix="/", blocking=False)
        except RuntimeError as error:
            raise UserError(explain(error) or _not_started(error)) from error
        _say(
            f"http://{_shown(config.host)}:{config.port} answers{'' if plan.tokens else ', and asks for no token'}"
        )
        if own:
            stop.wait()
            _say("ending: requests that have begun are finished first")
            if not finish(plan):
                _say(
                    f"some were not finished within {config.drain_seconds:g} seconds (serving.drain_seconds)"
                )
    finally:
        if own:
            ray_serve.shutdown()
            stop_ray()


def _told_to_end() -> threading.Event:
    """Set when this process gets SIGTERM or SIGINT."""
    told = threading.Event()

    def tell(*_: object) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)
    return told


def _not_started(error: RuntimeError) -> str:
    told = str(error).splitlines()[0]
    return (
        f"the service did not start ({told}); "
        "logs/serve in Ray's session folder, /tmp/ray/session_latest, tells why."
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say(text: str) -> None:
    from kard_ray.execution import say

    say(f"serve: {text}")


# -- the plan --------------------------------------------------------------------------------------------------------


def plan_service(recipe: Recipe, run: RunDirectory) -> ServicePlan:
    """What is served of ``run``; raises UserError when something is missing, unindexed or does not fit together."""
    config = recipe.serving
    main = Pipeline(recipe, run)
    wanted = config.students or (_default_student(recipe),)
    require_served(config, [one.name for one in wanted])
    students = [_Found(main, one) for one in wanted]
    knowledge = _knowledge(main, config)
    engines = _engines(students, config)
    placed = {student.name: engine.name for engine in engines for student in engine.students}
    if any(not engine.encoder_decoder for engine in engines):
        require_vllm()
    modes = knowledge.modes
    routing = Routing(
        students=tuple(one.card(placed[one.name]) for one in students),
        traffic=config.traffic,
        shadow=config.shadow,
        shadow_share=config.shadow_share if config.shadow else 0.0,
        knowledge_version=knowledge.versions[0],
        more_knowledge_versions=knowledge.versions[1:],
        mode=modes[0],
        modes=modes,
    )
    tokens = config.tokens or str(Path(run.path) / TOKENS_FILE)
    if config.auth and not read_tokens(tokens):
        raise UserError(
            f"{tokens}: it has no tokens; make one with kard-ray tokens add RUN_DIR NAME, or use --no-auth."
        )
    return ServicePlan(
        config=config,
        routing=routing,
        knowledge=knowledge,
        engines=engines,
        feedback=config.feedback or str(Path(run.path).absolute() / FEEDBACK_FOLDER),
        tokens=str(Path(tokens).absolute()) if config.auth else None,
    )


def require_served(config: ServingConfig, names: Sequence[str]) -> None:
    """Raise UserError when ``config`` gives requests to a student that is not among ``names``."""
    shadow = [config.shadow] if config.shadow else []
    for field, asked in (("traffic", list(config.traffic)), ("shadow", shadow)):
        for name in asked:
            if name not in names:
                raise UserError(
                    f"recipe field serving.{field}: got {name}, but what is served is {', '.join(names)}; add it to "
                    "serving.students, or name one of them."
                )


def _default_student(recipe: Recipe) -> ServedStudent:
    """The one of kard, else the recipe's last one that is trained, else its last one."""
    methods = recipe.student.methods
    trained = [method for method in methods if METHODS[method].trained]
    chosen = _PREFERRED if _PREFERRED in methods else (trained or methods)[-1]
    return ServedStudent(name=chosen)


class _Found:
    """A student that is to be served, with its artifact."""

    def __init__(self, main: Pipeline, served: ServedStudent) -> None:
        self.name = served.name
        self.pipeline = main
        if served.run is not None:
            run = RunDirectory(served.run)
            self.pipeline = Pipeline(read_run_recipe(run), run)
        self.method = self._method(served)
        if METHODS[self.method].shots:
            raise UserError(
                f"recipe field serving.students: {served.name} is prompted with worked examples of a question's kind, "
                "which an asked question does not tell; serve a trained student."
            )
        recipe = self.pipeline.recipe
        self.prediction: Prediction = self.pipeline.prediction(
            self.method, (), self.pipeline.prediction_artifact(self.method), new=True
        )
        if self.prediction.config.answer == "options":
            # vLLM 0.32 tells no probabilities of a prompt under an adapter: its engine ends (seen on a CPU).
            self.prediction = replace(self.prediction, lora=None)
        if METHODS[self.method].trained:
            artifact = self.pipeline.student_artifact(self.method)
            self.version = repr(artifact)
            self.created = int(datetime.fromisoformat(artifact.manifest().created).timestamp())
        else:
            self.version = f"{self.method}/{resolve_model(recipe.student.model).revision}"
            self.created = 0

    def _method(self, served: ServedStudent) -> MethodName:
        methods = self.pipeline.recipe.student.methods
        wanted = served.method or served.name
        found = [method for method in methods if method == wanted]
        if not found:
            raise UserError(
                f"recipe field serving.students: {served.name} is no method of the run {self.pipeline.run.root}, which "
                f"has {', '.join(methods)}; name one as method."
            )
        return found[0]

    def plan(self) -> StudentPlan:
        """What its engine has to know."""
        one = self.prediction
        manner = replace(one.manner(), knowledge=None, adapter=one.lora.folder if one.lora else "")
        return StudentPlan(
            name=self.name,
            version=self.version,
            manner=manner,
            sampling=one.config.sampling,
            log_probs=one.config.confidence,
        )

    def card(self, engine: str) -> StudentCard:
        """What the ingress has to know."""
        one = self.prediction
        return StudentCard(
            name=self.name,
            method=self.method,
            version=self.version,
            created=self.created,
            engine=engine,
            passages=one.passages if METHODS[self.method].passages_from != "none" else 0,
            with_options=one.config.query == "question_and_options",
            samples=one.config.votes,
            temperature=one.config.sampling.temperature,
            max_tokens=one.config.sampling.max_tokens,
        )


def _engines(students: Sequence[_Found], config: ServingConfig) -> tuple[EnginePlan, ...]:
    """One engine per model; students that are adapters on one model share its engine."""
    from transformers import AutoConfig

    groups: dict[tuple[str, str], list[_Found]] = {}
    for one in students:
        lora = one.prediction.lora
        key = (lora.base, "") if lora is not None else (one.prediction.student_path, one.name)
        groups.setdefault(key, []).append(one)
    made = []
    for (model_path, alone), group in groups.items():
        first = group[0].prediction
        ranks = [one.prediction.lora.rank for one in group if one.prediction.lora is not None]
        settings = AutoConfig.from_pretrained(model_path, local_files_only=True)
        made.append(
            EnginePlan(
                name=f"student-{alone}" if alone else f"students-{Path(model_path).name}"[:60],
                model_path=model_path,
                encoder_decoder=bool(settings.is_encoder_decoder),
                config=config.engine or first.config.engine,
                seed=first.seed,
                students=tuple(one.plan() for one in group),
                adapter_rank=(config.adapter_rank or max(ranks)) if ranks else 0,
                adapters=max(config.adapters, len(group)) if ranks else 0,
            )
        )
    return tuple(made)


def _knowledge(pipeline: Pipeline, config: ServingConfig) -> KnowledgePlan:
    recipe, folder = pipeline.recipe, str(Path(pipeline.knowledge_folder).absolute())
    pinned = find_version(folder, config.knowledge_version or pipeline.knowledge_version)
    versions = [pinned, *(find_version(folder, tag) for tag in config.more_knowledge_versions)]
    for version in versions:
        check_indexes(folder, version.number)
    reranker = None
    asked = config.mode in RERANKED or (config.mode is None and pipeline.uses_reranker)
    if config.rerank and recipe.reranker is not None and (asked or pipeline.reranker_artifact.finished):
        own = pinned.number == pipeline.knowledge_version
        reranker = pipeline.trained_reranker(None if own else pinned.tag)
    mode = config.mode or _first_mode(recipe, reranked=reranker is not None)
    if mode in RERANKED and (reranker is None or (mode == "multivector" and reranker.token_vectors is None)):
        raise UserError(
            f"recipe field serving.mode: got {mode}, but the run has no reranker that can do it; use bm25 or train one "
            "(docs/reranker.md)."
        )
    if mode in ("vector", "hybrid") and read_settings(folder).embedder is None:
        raise UserError(
            f"recipe field serving.mode: got {mode}, but the knowledge base {folder} has no vectors; use bm25."
        )
    return KnowledgePlan(
        folder=folder,
        versions=tuple(dict.fromkeys(version.tag for version in versions)),
        retrieval=recipe.retrieval,
        modes=tuple(dict.fromkeys([mode, "bm25", *(["reranker"] if reranker is not None else [])])),
        reranker=reranker,
    )


def _first_mode(recipe: Recipe, *, reranked: bool) -> str:
    """How the recipe's predictions first search; ``reranked``: a reranker is there."""
    for source in recipe.prediction.sources:
        found = searched(source)
        if found is not None and (reranked or found.search not in RERANKED):
            return found.search
    return "bm25"
