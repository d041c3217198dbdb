"""The recipe: every stage's configuration in one YAML file, any field overridable with ``--set a.b=c``.

It sits above the stages because it is made of their configuration models; the stages never import it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import Field, ValidationError

from kard_ray.benchmarks.registry import BenchmarkConfig
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.benchmarks.selection import SelectionConfig
from kard_ray.comparison.config import CompareConfig
from kard_ray.evaluation.predict import PredictionConfig
from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.contamination import ContaminationConfig
from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.reranker.config import RerankerConfig
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.session import ClusterConfig
from kard_ray.serving.config import ServingConfig
from kard_ray.student.config import StudentConfig
from kard_ray.student.curriculum.config import CurriculumConfig
from kard_ray.teacher.config import TeacherConfig
from kard_ray.teacher.silver import SilverConfig
from kard_ray.teacher.symbolic import SymbolicConfig
from kard_ray.tuning.config import SweepConfig


class Recipe(Frozen):
    """A whole run."""

    name: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    benchmark: BenchmarkConfig | None = None  # null: a knowledge base alone, to build and to search
    questions: SelectionConfig = SelectionConfig()
    answer_form: AnswerForm = "text"  # how conclusions name an option: its text or its letter
    knowledge: KnowledgeConfig
    retrieval: RetrievalConfig = RetrievalConfig()
    contamination: ContaminationConfig = ContaminationConfig()
    teacher: TeacherConfig = TeacherConfig()
    symbolic: SymbolicConfig | None = (
        None  # SKIntern's symbolic knowledge; null: the defaults where a method learns from it, else none
    )
    curriculum: CurriculumConfig = CurriculumConfig()
    silver: SilverConfig = SilverConfig()
    reranker: RerankerConfig | None = None  # null: none is trained
    student: StudentConfig = StudentConfig()
    prediction: PredictionConfig = PredictionConfig()
    compare: CompareConfig = CompareConfig()  # methods, students and seeds beside each other
    sweep: SweepConfig | None = None  # fields whose values are searched for by kard-ray sweep
    serving: ServingConfig = ServingConfig()  # the online service
    cluster: ClusterConfig = ClusterConfig()

    def questions_from(self) -> BenchmarkConfig:
        """The benchmark; raises UserError when the recipe has none."""
        if self.benchmark is None:
            raise UserError(
                f"recipe {self.name}, field benchmark: it is missing, and this stage needs questions."
            )
        return self.benchmark


def load_recipe(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read ``path`` and apply ``a.b=c`` overrides (values are YAML).

    Raises UserError that lists every mistake at once, one line each, with field, what was found and what is expected.
    """
    try:
        with open(path, encoding="utf-8") as source:
            tree = yaml.safe_load(source)
    except FileNotFoundError:
        raise UserError(
            f"recipe {path} does not exist; recipes that come with kard_ray are in jobs/recipes/."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"recipe {path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(tree, dict):
        raise UserError(f"recipe {path}: expected a mapping of stages, got {type(tree).__name__}.")
    tree.setdefault("name", os.path.splitext(os.path.basename(path))[0])
    for override in overrides:
        _apply(tree, override)
    return parse_recipe(tree, where=f"recipe {path}")


def parse_recipe(tree: dict[str, Any], *, where: str) -> Recipe:
    """Validate a recipe's tree; ``where`` leads every line of the error."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        details = error.errors()
        # A list whose items are all wrong is empty to pydantic, which then complains about that too.
        told = [d for d in details if d["type"] != "too_short" or not _has_parts(d["loc"], details)]
        raise UserError("\n".join(f"{where}, {_sentence(detail)}" for detail in told)) from None


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """``recipe`` with ``a.b=c`` overrides (values are YAML); raises UserError that lists every mistake."""
    tree = recipe.model_dump(mode="json")
    for override in overrides:
        _apply(tree, override)
    return parse_recipe(tree, where=f"recipe {recipe.name}")


def change_recipe(recipe: Recipe, changes: Mapping[str, Any], *, where: str) -> Recipe:
    """``recipe`` with other values of some fields (dotted names); raises UserError naming each that is wrong."""
    changed = recipe.model_dump(mode="json")
    for name, value in changes.items():
        *groups, last = name.split(".")
        node = changed
        for group in groups:
            inner = node.get(group)
            if not isinstance(inner, dict):
                raise UserError(f"{where}, field {name}: {group} is not a group of fields.")
            node = inner
        node[last] = value
    return parse_recipe(changed, where=where)


def _has_parts(place: tuple[Any, ...], details: Sequence[Any]) -> bool:
    return any(len(d["loc"]) > len(place) and d["loc"][: len(place)] == place for d in details)


def _apply(tree: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    steps = name.strip().split(".")
    if not equals or not all(steps):
        raise UserError(f"--set {override}: expected FIELD=VALUE such as student.epochs=3.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(
            f"--set {override}: the value is not YAML: {' '.join(str(error).split())}."
        ) from error
    node = tree
    for step in steps[:-1]:
        inner = node.setdefault(step, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {override}: {step} is not a group of fields.")
        node = inner
    node[steps[-1]] = value


def _sentence(detail: Any) -> str:
    # A discriminated union adds its tag to the path ("benchmark.factbook.seed"): the recipe has no such level.
    names = [str(part) for part in detail["loc"]]
    if len(names) > 1 and names[0] == "benchmark":
        del names[1]
    if len(names) > 2 and names[:2] in (["knowledge", "corpus"], ["teacher", "backend"]):
        del names[2]
    field = ".".join(names)
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"field {field}: there is no such field; look at its spelling and at the group it stands in."
    if detail["type"] == "missing":
        return f"field {field}: it is missing and has no default."
    message = detail["msg"][0].lower() + detail["msg"][1:]
    found = detail["input"] if not isinstance(detail["input"], dict) else "a group of fields"
    return f"field {field}: got {found!r}, but {message}."
