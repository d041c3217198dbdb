"""The cells of a comparison: one recipe, with other fields, for each method, student and seed.

All cells are bound to one run directory, where an artifact's key says what it is made from. So cells share what they
have in common without being told: questions, rationales and passages all of them, two students of one method and seed
only what differs. A cell's seed is ``student.seed``: it decides the order of training rows, which rationales of a
question are used, and what is drawn at random in training; the teacher's texts are the same for all seeds.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kard_ray.comparison.config import CompareConfig
from kard_ray.comparison.rows import ALONE, GATED, SILVER, row_id
from kard_ray.pipeline import STAGES, Pipeline, Step
from kard_ray.recipe import Recipe, change_recipe
from kard_ray.runtime.artifacts import Artifact, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.methods.registry import METHODS, MethodName

CELL_STAGES = tuple(stage for stage in STAGES if stage != "report")


class CellPipeline(Pipeline):
    """A recipe that differs from that of ``base`` in students and their answers alone."""

    def __init__(self, recipe: Recipe, base: Pipeline) -> None:
        super().__init__(recipe, base.run)
        self._base = base

    # To find their keys a benchmark and a corpus are read: once is enough for all cells.

    @cached_property
    def benchmark_artifact(self) -> Artifact:
        """That of all cells."""
        return self._base.benchmark_artifact

    @cached_property
    def knowledge_artifact(self) -> Artifact:
        """That of all cells."""
        return self._base.knowledge_artifact

    @property
    def explains_tests(self) -> bool:
        """As all cells have it: one that reads no silver passages needs no other teacher's texts."""
        return self._base.explains_tests or super().explains_tests


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One student: a method, the name of what it is trained from, and a seed."""

    method: MethodName
    student: str
    seed: int
    pipeline: Pipeline

    @property
    def name(self) -> str:
        """For people: ``kard, smollm2-135m, seed 42``."""
        return f"{self.method}, {self.student}, seed {self.seed}"


@dataclass(kw_only=True, slots=True)
class GridStep:
    """A step of one cell or of several that share its artifact."""

    step: Step
    cells: list[Cell] = field(default_factory=list)
    needs: tuple[str, ...] = ()  # paths of artifacts that other steps of the grid make

    @property
    def path(self) -> str:
        """Where its artifact lies: the same artifact is the same path."""
        return self.step.artifact.path

    @property
    def name(self) -> str:
        """For people: the label, and whose it is when it is not everybody's."""
        if self.step.stage in ("candidates", "reranker", "token_vectors"):  # there may be several
            students = dict.fromkeys(cell.student for cell in self.cells)
            return f"{self.step.label} ({', '.join(students)})"
        if self.step.stage not in ("train", "predict"):
            return self.step.label
        cell = self.cells[0]
        seeds = ", ".join(dict.fromkeys(str(c.seed) for c in self.cells))
        return f"{self.step.label} ({cell.student}, seed {seeds})"


def make_cells(recipe: Recipe, run: RunDirectory) -> list[Cell]:
    """The cells in the recipe's order: student by student, method by method, seed by seed.

    Raises UserError that lists every mistake of the group ``compare``, one line each.
    """
    compare = recipe.compare
    _require_known(recipe)
    base = Pipeline(recipe, run)
    students = compare.students or {default_student(recipe): {}}
    cells: list[Cell] = []
    mistakes: list[str] = []
    for student, changes in students.items():
        for method in recipe.student.methods:
            own = compare.methods.get(method)
            places = [f"compare.students.{student}"] if changes or not own else []
            places += [f"compare.methods.{method}.overrides"] if own and own.overrides else []
            where = ", ".join([f"recipe {recipe.name}", *places])
            try:
                changed = changes | (own.overrides if own else {}) | {"student.methods": [method]}
                mine = change_recipe(recipe, changed, where=where)
            except UserError as error:
                mistakes += str(error).splitlines()
                continue
            cells += [
                Cell(
                    method=method,
                    student=student,
                    seed=seed,
                    pipeline=CellPipeline(_seeded(mine, seed), base),
                )
                for seed in _seeds(method, recipe, compare)
            ]
    if mistakes:
        raise UserError("\n".join(dict.fromkeys(mistakes)))
    _require_rows(recipe, cells)
    return cells


def grid_steps(cells: Sequence[Cell]) -> list[GridStep]:
    """Every step of ``cells`` once, in the order of stages, with what each needs.

    Raises UserError when an input of the run cannot be had.
    """
    found: dict[str, GridStep] = {}
    for cell in cells:
        # Also stages without passages name the version of the knowledge base in their manifest, and read questions.
        shared = [cell.pipeline.benchmark_artifact.path, cell.pipeline.knowledge_artifact.path]
        before = ["benchmark", "knowledge"]
        if cell.pipeline.recipe.contamination.drop:
            shared.append(cell.pipeline.contamination_artifact.path)
            before.append("contamination")
        for step in cell.pipeline.steps(CELL_STAGES):
            made = found.setdefault(step.artifact.path, GridStep(step=step))
            made.cells.append(cell)
            inputs = [
                posixpath.join(cell.pipeline.run.path, stage, key)
                for stage, key in step.artifact.spec.inputs.items()
            ]
            made.needs = (*inputs, *(shared if step.stage not in before else []))
    order = {stage: at for at, stage in enumerate(CELL_STAGES)}
    return sorted(found.values(), key=lambda made: order[made.step.stage])


def default_student(recipe: Recipe) -> str:
    """What the only student is called when the recipe names none: the last part of its model reference."""
    return posixpath.basename(recipe.student.model.rstrip("/").rpartition(":")[2]) or recipe.student.model


def _seeds(method: MethodName, recipe: Recipe, compare: CompareConfig) -> tuple[int, ...]:
    """The seeds of ``method``; a prompted baseline is not trained, so one seed tells all."""
    own = compare.methods.get(method)
    seeds = (own.seeds if own else None) or compare.seeds or (recipe.student.seed,)
    return seeds if METHODS[method].trained else seeds[:1]


def _require_known(recipe: Recipe) -> None:
    compare = recipe.compare
    methods = ", ".join(recipe.student.methods)
    mistakes = [
        f"recipe {recipe.name}, field compare.methods.{name}: student.methods has no such method ({methods}); "
        "add it there, or leave this out."
        for name in compare.methods
        if name not in recipe.student.methods
    ]
    mistakes += [
        f"recipe {recipe.name}, field compare.claims: got {name!r}, expected names of methods: "
        f"{', '.join(METHODS)}."
        for name in compare.claims
        if name not in METHODS
    ]
    if mistakes:
        raise UserError("\n".join(mistakes))


def _require_rows(recipe: Recipe, cells: Sequence[Cell]) -> None:
    """Refuse ``compare.pairs`` of rows that the comparison does not have."""
    rows: dict[str, None] = {}
    for cell in cells:
        sources = cell.pipeline.sources(cell.method)
        gated = METHODS[cell.method].alone_and_with_passages
        asking = [f"{GATED} {source}" for source in sources if gated and source not in (ALONE, SILVER)]
        rows |= dict.fromkeys(row_id((cell.student, cell.method, source)) for source in (*sources, *asking))
    mistakes = [
        f"recipe {recipe.name}, field compare.pairs: got {name!r}, expected student/method/passages of two rows: "
        f"{', '.join(rows)}."
        for name in dict.fromkeys(name for pair in recipe.compare.pairs for name in pair)
        if name not in rows
    ]
    if mistakes:
        raise UserError("\n".join(mistakes))


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    return recipe.model_copy(update={"student": recipe.student.model_copy(update={"seed": seed})})
