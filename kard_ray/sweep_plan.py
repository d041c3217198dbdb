"""What a sweep will do, checked before any of it is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from kard_ray.grid import CellPipeline
from kard_ray.pipeline import Pipeline, Step
from kard_ray.recipe import Recipe, change_recipe
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.held_out import measured_by
from kard_ray.student.methods.registry import METHODS
from kard_ray.sweep_trial import epochs_of, steps_before, trained_step, with_values
from kard_ray.tuning.config import SweepConfig
from kard_ray.tuning.schedulers import grace_of
from kard_ray.tuning.space import Values, combinations, count_values, own_values, refused_fields
from kard_ray.tuning.targets import RERANKER, Mode, Target, target_of

VERSION = 1
MOST_SHARED = 64  # sets of artifacts that are made before the trials, for values that need their own


@dataclass(frozen=True)
class Plan:
    """A checked sweep: :func:`make_plan` makes it."""

    recipe: Recipe
    config: SweepConfig
    target: Target
    base: Pipeline  # the recipe itself

    @property
    def metric(self) -> str:
        """What trials are compared by."""
        if self.config.metric is not None:
            return self.config.metric
        return measured_by(self.recipe.student) if self.target.method else next(iter(self.target.metrics))

    @property
    def mode(self) -> Mode:
        """Whether more of it is better."""
        return self.config.mode or self.target.metrics[self.metric]

    @property
    def artifact(self) -> Artifact:
        """Where its trials and results are; another space or rule is another sweep."""
        own = trained_step(self.pipeline({}), self.target).artifact.spec
        return self.base.run.artifact(
            ArtifactSpec(
                stage=f"sweep/{self.target.name}",
                version=VERSION,
                config=self.config.content() | {"metric": self.metric, "mode": self.mode},
                inputs={own.stage: own.key},
            )
        )

    @cached_property
    def own(self) -> Values:
        """What the recipe has for the fields of the space."""
        return own_values(self.config.space, self.recipe)

    @cached_property
    def longest(self) -> float:
        """Epochs of the longest training."""
        field = f"{self.target.group}.epochs"
        found = [epochs_of(self.recipe, self.target)]
        if field in self.config.space:
            found += [float(value or 0) for value in self.config.space[field].probes()]
        return max(found)

    @property
    def demand(self) -> tuple[float, float]:
        """CPUs and GPUs of one trial: those of its training's workers."""
        training = getattr(self.recipe, self.target.group)
        return training.workers * training.cpus_per_worker, training.workers * training.gpus_per_worker

    @property
    def budget(self) -> list[float | None]:
        """With which a call ends, as its manifest has it."""
        return [self.config.trials, self.config.minutes, self.config.epochs]

    def recipe_of(self, values: Values) -> Recipe:
        """The recipe with ``values``, for the target alone; raises UserError naming each field that is wrong."""
        return with_values(
            self.recipe, self.target, values, where=f"recipe {self.recipe.name}, field sweep.space"
        )

    def fault(self, values: Values) -> str | None:
        """Why ``values`` do not go together, or None."""
        try:
            self.recipe_of(values)
        except UserError as error:
            return str(error)
        return None

    def pipeline(self, values: Values) -> Pipeline:
        """The pipeline of a trial."""
        return CellPipeline(self.recipe_of(values), self.base)

    def together(self, values: Values) -> Values | None:
        """``values``, with those of one more field where they do not go with the recipe's own; None: with none."""
        if self.fault(values) is None:
            return values
        for name, others in self.config.space.items():
            for value in others.probes() if name not in values else ():
                if self.fault(values | {name: value}) is None:
                    return values | {name: value}
        return None

    @cached_property
    def sharing(self) -> list[str]:
        """Fields whose values need artifacts of their own before the trial: candidates, or what questions find.

        A field may do so only with other values of another one that does.
        """
        found: list[str] = []
        bases: list[Values] = [{}]
        while bases:
            base = bases.pop()
            for name, values in self.config.space.items():
                if name not in found and name not in base and self._needs_its_own(base, name):
                    found.append(name)
                    bases += [{name: value} for value in values.probes()]
        return found

    def _needs_its_own(self, base: Values, name: str) -> bool:
        """Whether any value of ``name``, beside those of ``base``, changes what a trial is made from."""
        for value in self.config.space[name].probes():
            values = self.together(base | {name: value})
            if values is None:
                continue
            rest = {other: its for other, its in values.items() if other != name}
            if self.fault(rest) is None and self._paths(values) != self._paths(rest):
                return True
        return False

    def _paths(self, values: Values) -> set[str]:
        return {step.artifact.path for step in steps_before(self.pipeline(values), self.target)}

    def shared_steps(self) -> list[Step]:
        """All that trials are made from, each once, in the order in which it is made."""
        found: dict[str, Step] = {}
        for values in (self.own, *combinations(self.config.space, self.sharing)):
            if (whole := self.together(values)) is not None:
                for step in steps_before(self.pipeline(whole), self.target):
                    found.setdefault(step.artifact.path, step)
        return list(found.values())

    def recipes(self) -> Iterable[Recipe]:
        """The recipe with each value of each field that has a few: what must be there for them is looked for."""
        yield self.recipe_of({})
        for name, values in self.config.space.items():
            for value in values.choice or ():
                if self.fault({name: value}) is None:
                    yield self.recipe_of({name: value})


def make_plan(recipe: Recipe, run: RunDirectory) -> Plan:
    """Check the recipe's sweep; raises UserError that lists every mistake, one line each. No data is read."""
    if recipe.sweep is None:
        raise UserError(
            f"recipe {recipe.name}, field sweep: it is missing; name at least sweep.target and sweep.space."
        )
    plan = Plan(recipe, recipe.sweep, target_of(recipe.sweep.target), Pipeline(recipe, run))
    mistakes = _mistakes(plan)
    if mistakes:
        raise UserError("\n".join(dict.fromkeys(mistakes)))
    return plan


def check_sharing(plan: Plan) -> None:
    """Raise UserError when too many artifacts would have to be made before the trials; reads what keys are made of."""
    count = count_values(plan.config.space, plan.sharing)
    if count is None or count > MOST_SHARED:
        many = "any number" if count is None else f"{count:,}"
        raise UserError(
            f"recipe {plan.recipe.name}, field sweep.space: what trials are made from is made before them, once for "
            f"each value of {' and '.join(plan.sharing)}, and these have {many} of combinations where {MOST_SHARED} "
            "are allowed; give a choice of a few values."
        )


def _mistakes(plan: Plan) -> list[str]:
    recipe, config, target = plan.recipe, plan.config, plan.target
    where = f"recipe {recipe.name}, field"
    if target.method and (target.method not in recipe.student.methods or not METHODS[target.method].trained):
        trained = [method for method in recipe.student.methods if METHODS[method].trained]
        names = ", ".join([RERANKER, *trained])
        return [f"{where} sweep.target: got {target.name!r}, expected one of {names}."]
    if getattr(recipe, target.group) is None:
        told = f"it is missing, and the sweep's target is {target.name}; '{target.group}: {{}}' takes the defaults."
        return [f"{where} {target.group}: {told}"]
    refused = refused_fields(config, recipe)
    found = [f"{where} sweep.space.{name}: {why}" for name, why in refused.items()]
    for name, values in config.space.items():
        if name not in refused:
            found += _wrong_values(plan, name, values.probes())
        if config.search == "grid" and values.values() is None:
            found.append(
                f"{where} sweep.space.{name}: a grid needs single values; give a choice, or a step between them."
            )
    if target.method:
        found += _measured_mistakes(plan, where)
    if plan.metric == "loss" and (other := [name for name in config.space if name in target.loss_fields]):
        told = f"got loss, which is another measure with other values of {' and '.join(other)}"
        found.append(f"{where} sweep.metric: {told}; compare trials by hits@1 or ndcg.")
    if found or config.scheduler == "none":
        return found
    if (grace := grace_of(config, plan.longest)) >= plan.longest:
        told = f"got {grace:g}, but no training has more than {plan.longest:g} epochs, so none could be stopped early"
        found.append(f"{where} sweep.grace: {told}; lower it, or set sweep.scheduler to none.")
    return found


def _wrong_values(plan: Plan, name: str, probes: Iterable[object]) -> list[str]:
    """What the recipe says against each of the values ``probes`` of a field, alone."""
    found = []
    for value in probes:
        try:
            change_recipe(
                plan.recipe, {name: value}, where=f"recipe {plan.recipe.name}, field sweep.space.{name}"
            )
        except UserError as error:
            lines = str(error).splitlines()
            # Fields that do not go together with others of the recipe may do so with other values of the space.
            found += [line for line in lines if f"field {name}: " in line]
            if len(plan.config.space) == 1:
                found += [line for line in lines if line not in found]
    return found


def _measured_mistakes(plan: Plan, where: str) -> list[str]:
    student = plan.recipe.student
    if student.held_out == 0:
        told = "it is 0, but trials are compared on held-out training questions; set it to 0.1 or so."
        return [f"{where} student.held_out: {told}"]
    if plan.metric != measured_by(student):
        told = f"with student.best {student.best} held-out questions measure the {measured_by(student)}"
        best = "accuracy" if plan.metric == "accuracy" else "loss"
        return [f"{where} sweep.metric: got {plan.metric}, but {told}; set student.best to {best}."]
    return []
