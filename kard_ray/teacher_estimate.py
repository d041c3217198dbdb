"""What the teacher will cost in a run, from the recipe and what is on disk: nothing is generated or downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.registry import load_benchmark
from kard_ray.benchmarks.selection import select
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.model_files import load_tokenizer
from kard_ray.runtime.models import ModelStatus, check_model
from kard_ray.teacher.acceptance import question_problem
from kard_ray.teacher.backends.endpoint import EndpointConfig
from kard_ray.teacher.backends.endpoint_reply import estimated_tokens
from kard_ray.teacher.backends.work import Backend, Messages
from kard_ray.teacher.config import TeacherConfig
from kard_ray.teacher.cost import TeacherCost, TokenFigure, teacher_cost
from kard_ray.teacher.generation import Plan
from kard_ray.teacher.grounding import Passages, gold_passages
from kard_ray.teacher.prompt import plain_prompt, prompt_ids
from kard_ray.teacher.rationales import TOKENS_PER_SECOND, Asking, teacher_of

BUNDLED = "bundled:smollm2-135m-instruct"
BUNDLED_TOKENS_S = 320.0  # of BUNDLED on two cores, seen in the quickstart (benchmarks/RESULTS.md)


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherEstimate:
    """The cost of a run's rationales, and what it is made from."""

    cost: TeacherCost
    plan: Plan
    notes: Sequence[str]  # what the figures leave out
    tokens_per_second: float | None
    rate_from: str


class _Unknown:
    """A backend whose model is not here: nothing of it can be in the ledger."""

    block_items = 1

    def identity(self) -> Mapping[str, Any]:
        return {"model": None}

    def models(self) -> Mapping[str, str]:
        return {}

    def transform(self, prompts: Any, openings: Any, ledger: Any) -> Any:
        raise AssertionError("an estimate does not generate")


def estimate_rationales(pipeline: Pipeline, *, tokens_per_second: float | None = None) -> TeacherEstimate:
    """What the rationales of ``pipeline`` will cost; reads the benchmark's files when its stage was not run yet.

    ``tokens_per_second`` is the rate of all engines together, when the caller knows it.
    """
    recipe, teacher = pipeline.recipe, pipeline.recipe.teacher
    questions = _questions(pipeline)
    passages, notes = _passages(pipeline, questions)
    examples = load_benchmark(recipe.questions_from()).examples
    asking = Asking(teacher, recipe.answer_form, examples, passages)
    split = recipe.prediction.split
    items = []
    for question in questions:
        samples = teacher.test_samples if question.split == split else teacher.samples
        if samples and not question_problem(question, teacher.max_question_characters):
            items.append(asking.item(question, range(samples)))
    backend, count, counted_by = _counting(teacher)
    plan = Plan(items, asking.openings, backend, pipeline.ledger)
    endpoint = teacher.backend if isinstance(teacher.backend, EndpointConfig) else None
    cost = teacher_cost(
        plan,
        count,
        counted_by=counted_by,
        max_tokens=teacher.sampling.max_tokens,
        samples_per_request=endpoint.samples_per_request if endpoint else 1,
        example_tokens=_examples(asking.openings.values(), count),
        written_tokens=_written(pipeline, plan),
    )
    if teacher.backend.kind == "recorded":
        notes = ["the recorded teacher costs nothing; tokens are those of its prompts", *notes]
    rate, rate_from = _rate(pipeline, tokens_per_second)
    return TeacherEstimate(cost=cost, plan=plan, notes=notes, tokens_per_second=rate, rate_from=rate_from)


def print_teacher_estimate(
    recipe_path: str,
    *,
    run_dir: str | None,
    overrides: Iterable[str],
    tokens_per_second: float | None = None,
    prompts: int = 0,
) -> None:
    """The table of ``kard-ray estimate``, and the first ``prompts`` prompts."""
    recipe = load_recipe(recipe_path, list(overrides))
    pipeline = Pipeline(recipe, RunDirectory(run_dir or f"runs/{recipe.name}"))
    found = estimate_rationales(pipeline, tokens_per_second=tokens_per_second)
    for item, _ in list(found.plan.missing_items())[:prompts]:
        messages = [dict(message) for message in found.plan.openings[item.opening]]
        messages.append({"role": "user", "content": item.turn})
        print(f"--- {item.item_id}, as a plain prompt\n{plain_prompt(messages)}\n")
    console = Console(width=None if Console().is_terminal else 140)
    console.print(cost_table(found, recipe.teacher, recipe.name))


def cost_table(found: TeacherEstimate, teacher: TeacherConfig, name: str) -> Table:
    """The figures with their errors, how they were found, price or time."""
    cost = found.cost
    table = Table(title=f"recipe {name}, rationales of {teacher.model}")
    for column in ("what", "estimate", "how it was found"):
        table.add_column(column, justify="right" if column == "estimate" else "left", overflow="fold")
    table.add_row("texts to be written", f"{cost.texts:,}", f"{cost.finished:,} are in the ledger already")
    table.add_row("requests", f"{cost.calls:,}", "")
    table.add_row("prompt tokens", _figure(cost.prompt), cost.prompt.basis)
    table.add_row("generated tokens", _figure(cost.generated), cost.generated.basis)
    table.add_row(
        "generated tokens, at most", f"{cost.most_generated:,}", f"max_tokens {teacher.sampling.max_tokens}"
    )
    backend = teacher.backend
    if isinstance(backend, EndpointConfig):
        if backend.prompt_price is None or backend.generated_price is None:
            table.add_row("price", "unknown", "set teacher.backend.prompt_price and generated_price")
        else:
            expected, most = cost.money(backend.prompt_price, backend.generated_price)
            table.add_row("price", f"{expected:,.2f}", f"at most {most:,.2f}; in the currency of the prices")
    elif backend.kind == "vllm":
        _add_time(table, found, teacher)
    for note in found.notes:
        table.add_row("", "", note)
    return table


def _add_time(table: Table, found: TeacherEstimate, teacher: TeacherConfig) -> None:
    if found.tokens_per_second is None:
        table.add_row("time", "unknown", "no rate was measured yet; give --tokens-per-second")
        return
    seconds = found.cost.seconds(found.tokens_per_second)
    table.add_row("time", f"{seconds:,.0f} s", f"{found.tokens_per_second:,.0f} tokens/s, {found.rate_from}")
    engine = teacher.engine
    if engine.device != "cpu" and teacher.model != BUNDLED:
        gpus = engine.replicas * engine.tensor_parallel * engine.pipeline_parallel
        table.add_row(
            "GPU hours", f"{seconds * gpus / 3600:,.2f}", f"{gpus} GPUs, without the start of engines"
        )


def _figure(figure: TokenFigure) -> str:
    return f"{figure.tokens:,}" + (f" ± {figure.error:,}" if figure.error else "")


def _questions(pipeline: Pipeline) -> list[Question]:
    if pipeline.benchmark_artifact.finished:
        return pipeline.teacher_questions()
    recipe = pipeline.recipe
    everything = list(load_benchmark(recipe.questions_from()).questions())
    chosen = select(everything, "train", recipe.questions)
    if pipeline.explains_tests:
        chosen += select(everything, recipe.prediction.split, recipe.questions)
    return chosen


def _passages(pipeline: Pipeline, questions: Sequence[Question]) -> tuple[Passages, list[str]]:
    """The passages that prompts will show, as far as they can be known without a search."""
    mode = pipeline.recipe.teacher.grounding
    if mode == "none":
        return {}, []
    if mode == "gold" and pipeline.knowledge_artifact.finished:
        folder, version = pipeline.knowledge_folder, pipeline.knowledge_version
        return gold_passages(questions, folder, version=version), []
    why = (
        "the knowledge base is not built yet"
        if mode == "gold"
        else "they are searched for when the stage runs"
    )
    return {}, [f"prompts are counted without passages: {why}"]


def _counting(teacher: TeacherConfig) -> tuple[Backend, Callable[[Messages], int], str]:
    """The backend, how a prompt's tokens are counted, and by what."""

    def by_bytes(messages: Messages) -> int:
        return sum(estimated_tokens(message["content"]) + 4 for message in messages)

    rough = "a quarter of their bytes, which is off by up to a third"
    if teacher.backend.kind == "vllm" and check_model(teacher.model).status is not ModelStatus.READY:
        return _Unknown(), by_bytes, rough
    try:
        backend = teacher_of(teacher, teacher.samples)
    except UserError:  # a key or a file that is not here yet is no reason to refuse an estimate
        return _Unknown(), by_bytes, rough
    if teacher.backend.kind != "vllm":
        return backend, by_bytes, rough
    from kard_ray.runtime.models import resolve_model

    tokenizer = load_tokenizer(resolve_model(teacher.model).path)

    def by_tokenizer(messages: Messages) -> int:
        return len(prompt_ids(tokenizer, [dict(message) for message in messages], teacher.template))

    return backend, by_tokenizer, "the teacher's tokenizer"


def _examples(openings: Iterable[Messages], count: Callable[[Messages], int]) -> list[int]:
    """Tokens of each worked example's text; the tokens around a message are taken off."""
    around = count([{"role": "user", "content": ""}])
    return [
        max(1, count([{"role": "user", "content": message["content"]}]) - around)
        for opening in openings
        for message in opening
        if message["role"] == "assistant"
    ]


def _written(pipeline: Pipeline, plan: Plan) -> list[int]:
    keys = pa.array([key for found in plan.keys for key in found], pa.string())
    return [int(count) for count in pipeline.ledger.replies(keys)["generated_tokens"].to_pylist() if count]


def _rate(pipeline: Pipeline, given: float | None) -> tuple[float | None, str]:
    """Generated tokens per second of all engines, and where the figure is from."""
    teacher = pipeline.recipe.teacher
    if given is not None:
        return given, "as given"
    for manifest in pipeline.run.finished("rationales"):
        if teacher.model in manifest.models and manifest.counts.get(TOKENS_PER_SECOND):
            return float(manifest.counts[TOKENS_PER_SECOND]), f"measured in rationales/{manifest.key}"
    if teacher.model == BUNDLED and teacher.engine.device != "gpu":
        return BUNDLED_TOKENS_S, "seen on two cores"
    return None, ""
