"""What a run will cost before it is started: rows, tokens, and time where a rate is known.

Token counts are upper estimates from the recipe (every sample as long as ``max_tokens`` allows is counted at the
share seen on the factbook). Times are given only for the bundled 135M model on a CPU, whose rates were
seen on two cores; for other models and devices the table shows tokens, and progress shows the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.registry import load_benchmark
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.evaluation.sources import searched
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import Recipe
from kard_ray.student.curriculum.schedule import fractions
from kard_ray.student.methods.base import Evidence, Example, Given, Help, Method, Shot
from kard_ray.student.methods.prompted import ANSWER
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.teacher.backends.recorded import RecordedConfig

BUNDLED = "bundled:smollm2-135m-instruct"
BUNDLED_ENCODER = "bundled:minilm"

# Seen in the quickstart on two cores with bfloat16 (benchmarks/RESULTS.md), rounded: seconds until an engine or a
# trainer works, tokens per second after that.
ENGINE_START_S = 30.0
GENERATE_TOKENS_S = 320.0
TRAIN_START_S = 20.0
TRAIN_TOKENS_S = 530.0
RERANK_TOKENS_S = 2600.0  # of questions and candidates, one core

# Rough tokens per item on the factbook.
RATIONALE_TOKENS = 45
QUESTION_TOKENS = 55
PASSAGE_TOKENS = 100
ANSWER_TOKENS = 10
NOTES_TOKENS = 120  # symbolic knowledge of a rationale


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rows and tokens of one step; ``seconds`` is None where no rate is known."""

    rows: int | None
    tokens: int | None
    seconds: float | None


def estimate(label: str, pipeline: Pipeline, *, has_data: bool = True) -> Estimate:
    """Estimate the step called ``label`` from the recipe alone (only a finished benchmark's manifest is read).

    ``has_data`` False: the benchmark's files are not here yet, so its sizes are those that the recipe names.
    """
    recipe = pipeline.recipe
    stage, _, method = label.partition("/")
    train = _questions(pipeline, "train", has_data)
    test = _questions(pipeline, recipe.prediction.split, has_data)
    whole = recipe.student.model == BUNDLED and recipe.student.layers is None
    known = whole and recipe.student.gpus_per_worker == 0
    if stage == "benchmark":
        return Estimate(_total(pipeline), None, None)
    if stage == "rationales":
        tests = _times(test, recipe.teacher.test_samples) if pipeline.explains_tests else 0
        rows = _add(_times(train, recipe.teacher.samples), tests)
        if isinstance(recipe.teacher.backend, RecordedConfig):
            return Estimate(rows, None, None)  # they are read, not written
        tokens = _times(rows, min(RATIONALE_TOKENS, recipe.teacher.sampling.max_tokens))
        timed = recipe.teacher.local_model == BUNDLED and recipe.teacher.engine.device != "gpu"
        return Estimate(rows, tokens, _seconds(tokens, GENERATE_TOKENS_S, ENGINE_START_S) if timed else None)
    if stage == "silver":
        tests = test if pipeline.explains_tests else 0
        return Estimate(_add(_times(train, recipe.teacher.samples), tests), None, None)
    if stage in ("candidates", "reranker") and (reranker := recipe.reranker):
        rows = _times(train, recipe.teacher.samples)
        if stage == "candidates":
            return Estimate(rows, None, None)
        of_row = reranker.candidates_per_step * PASSAGE_TOKENS + QUESTION_TOKENS
        tokens = _times(rows, of_row * reranker.epochs)
        timed = reranker.model == BUNDLED_ENCODER and reranker.gpus_per_worker == 0
        return Estimate(rows, tokens, _seconds(tokens, RERANK_TOKENS_S, TRAIN_START_S) if timed else None)
    if stage in ("question_passages", "examples"):
        return Estimate(train, None, None)
    if stage in ("symbolic", "compression") and (symbolic := pipeline.symbolic_config):
        rows = _times(train, min(symbolic.rationales, recipe.teacher.samples))
        if stage == "compression":
            return Estimate(_times(rows, recipe.curriculum.schedule.stages), None, None)
        return Estimate(rows, _times(rows, min(NOTES_TOKENS, symbolic.sampling.max_tokens)), None)
    if stage not in ("train", "predict"):
        return Estimate(None, None, None)
    name = cast("MethodName", method)
    examples = _examples(METHODS[name], recipe)
    if stage == "train":
        rows = _times(train, len(examples))
        of_question = sum(_prompt_tokens(e, recipe) + _target_tokens(e) for e in examples)
        # All of the epochs are divided among the stages of a curriculum.
        tokens = _times(_times(train, of_question), recipe.student.epochs / max(e.stage for e in examples))
        return Estimate(rows, tokens, _seconds(tokens, TRAIN_TOKENS_S, TRAIN_START_S) if known else None)
    sources = pipeline.sources(name)
    rows = _times(test, len(sources))
    written = len(sources) * sum(_written_tokens(cue, examples) for cue in METHODS[name].cues)
    if recipe.prediction.next_query == "rationale":  # one more text for each further round
        again = sum(found.rounds - 1 for source in sources if (found := searched(source)))
        written += again * _written_tokens(METHODS[name].cues[0], examples)
    tokens = _times(test, written)
    return Estimate(rows, tokens, _seconds(tokens, GENERATE_TOKENS_S, ENGINE_START_S) if known else None)


_QUESTION = Question(question_id="", split="train", question="", options=("yes", "no"), answer=0)
_ANSWER = conclusion(_QUESTION.options, _QUESTION.answer, "text")


def _examples(method: Method, recipe: Recipe) -> list[Example]:
    """The training rows of a question that has all the rationales and passages that the recipe asks for."""
    student = recipe.student
    found = [("", "")] * student.passages
    kept = fractions(recipe.curriculum.schedule)
    notes = [Help(summary="word " * round(NOTES_TOKENS * fraction)) for fraction in kept]
    evidence = Evidence(rationale=f"It is. {_ANSWER}", silver=found, help=notes)
    count = min(student.rationales, recipe.teacher.samples)
    return list(
        method.examples(
            Given(
                question=_QUESTION,
                evidence=[evidence] * count,
                found=found,
                passages=student.passages,
                form="text",
                alpha=student.alpha,
                shots=[Shot(question="", options=(), written="")] * recipe.curriculum.examples,
                fractions=kept,
            )
        )
    )


def _prompt_tokens(example: Example, recipe: Recipe) -> int:
    tokens = QUESTION_TOKENS + len(example.passages) * PASSAGE_TOKENS
    tokens += len(example.shots) * (QUESTION_TOKENS + RATIONALE_TOKENS)
    tokens += len(example.help.summary.split()) if example.help else 0
    return min(tokens, recipe.student.rendering.max_prompt_tokens)


def _target_tokens(example: Example) -> int:
    return ANSWER_TOKENS if example.target == _ANSWER else RATIONALE_TOKENS


def _written_tokens(cue: str, examples: list[Example]) -> int:
    """What is written for one pass: as learned, or as a baseline is asked for it."""
    learned = [_target_tokens(e) for e in examples if e.cue.rpartition("\n")[2] == cue]
    return max(learned, default=ANSWER_TOKENS if cue == ANSWER else RATIONALE_TOKENS)


def _questions(pipeline: Pipeline, split: str, has_data: bool) -> int | None:
    """Questions of ``split`` that will be used, as far as the recipe or a finished benchmark tells."""
    limit = getattr(pipeline.recipe.questions, split)
    if has_data and pipeline.benchmark_artifact.finished:
        size = pipeline.benchmark_artifact.manifest().counts[split]
    else:
        size = getattr(pipeline.recipe.benchmark, split, None)
    sizes = [n for n in (limit, size) if isinstance(n, int)]
    return min(sizes) if sizes else None


def _total(pipeline: Pipeline) -> int | None:
    sizes = [getattr(pipeline.recipe.benchmark, split, None) for split in ("train", "dev", "test")]
    numbers = [size for size in sizes if isinstance(size, int)]
    return sum(numbers) if len(numbers) == len(sizes) else None


def _times(count: int | None, factor: float) -> int | None:
    return None if count is None else round(count * factor)


def _add(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _seconds(tokens: int | None, rate: float, start: float) -> float | None:
    return None if tokens is None else start + tokens / rate


def missing_inputs(recipe: Recipe) -> list[str]:
    """What the recipe names that cannot be had now, one sentence each (models, files)."""
    from kard_ray.runtime.errors import UserError
    from kard_ray.runtime.models import ModelStatus, check_model
    from kard_ray.teacher.backends.endpoint import EndpointConfig
    from kard_ray.teacher.backends.endpoint_key import read_key
    from kard_ray.teacher.backends.recorded import file_hash

    found = []
    for field, ref in (
        ("knowledge.embedder", recipe.knowledge.embedder),
        ("teacher.model", recipe.teacher.local_model),
        ("student.model", recipe.student.model),
        ("reranker.model", recipe.reranker.model if recipe.reranker else None),
    ):
        if ref is None:
            continue
        check = check_model(ref)
        if check.status is not ModelStatus.READY:
            found.append(f"{field} {ref}: {check.reason or check.status.value}")
    readers = [("benchmark", load_benchmark(recipe.questions_from()).fingerprint)] if recipe.benchmark else []
    backend = recipe.teacher.backend
    if isinstance(backend, RecordedConfig):
        readers.append(("teacher", lambda: file_hash(backend.path)))
    if isinstance(backend, EndpointConfig):
        key = partial(read_key, url=backend.url, key_env=backend.key_env, key_file=backend.key_file)
        readers.append(("teacher", lambda: str(key())))
    for field, read in (
        *readers,
        ("knowledge.corpus", recipe.knowledge.corpus.fingerprint),
    ):
        try:
            read()
        except UserError as error:
            found.append(f"{field}: {error}")
    return found
