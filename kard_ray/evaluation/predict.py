"""Answers of students: question → passages → the model on Ray Data → parsed answer.

A method that reads passages is predicted once per passage source: ``bm25`` and other searches (the question is the
query, as in use; in further rounds also what the student wrote) and ``silver`` (the teacher's rationale is the query:
the upper bound). All sources of a student share one engine, and so can LoRA adapters on one model, and prompted
students of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
import ray
from pydantic import Field, model_validator

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.evaluation.asking import CALLS, WRITTEN, Asking
from kard_ray.evaluation.prompts import STUDENT, Manner, OptionsBehind, StudentPrompts
from kard_ray.evaluation.reading import SAMPLES, read_samples, was_cut
from kard_ray.evaluation.rounds import NextQuery
from kard_ray.evaluation.searching import SEARCHES, KnowledgeSource, Searching, SearchThere, searching
from kard_ray.evaluation.sources import MOST_ROUNDS, PassageSource, most_rounds, searched
from kard_ray.knowledge.retrieval import PASSAGE_LIST
from kard_ray.runtime.artifacts import PARTS, Artifact, Manifest
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import Adapters, EngineConfig, SamplingConfig, dialogues
from kard_ray.runtime.model_files import is_encoder_decoder
from kard_ray.runtime.parts import PartsWriter, collect_parts, unfinished_rows, write_parts
from kard_ray.student.help import Shot
from kard_ray.student.question_passages import search_query
from kard_ray.student.rendering import DEFAULT_CUE, RenderingConfig

VERSION = 3

PREDICTIONS = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("question_id", pa.string()),
        ("source", pa.string()),
        ("passage_ids", pa.list_(pa.string())),
        ("generated_text", pa.string()),  # of all passes, one below the other
        ("prompt_tokens", pa.int32()),  # sums over the calls
        ("generated_tokens", pa.int32()),
        ("error", pa.string()),
        # Index into options; null when none could be read or the question is open
        ("prediction", pa.int32()),
        ("prediction_text", pa.string()),  # the option or the open answer; null when none could be read
        ("correct", pa.bool_()),
        ("calls", CALLS),
        # Probability of the answer as it was written, or among the scored options, or the share of the votes.
        ("confidence", pa.float64()),  # null when unknown
        ("seconds", pa.float64()),  # in the engine, from the request to the last token, summed over passes
        # Of the conclusion with each option; null unless scored
        ("option_log_probs", pa.list_(pa.float64())),
    ]
)


SEARCHES_FILE = "searches.parquet"
SEARCHES_TABLE = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("source", pa.string()),
        ("round", pa.int32()),  # from 1
        *SEARCHES.value_type.fields,
    ]
)


class PredictionConfig(Frozen):
    """Which questions are answered, with which passages, and how text is drawn."""

    # ask_below decides how new questions are answered, never a prediction of a run; it is in the key of those.
    EXECUTION = frozenset({"ask_below"})

    split: Literal["dev", "test"] = "test"
    sources: tuple[Literal["bm25", "vector", "hybrid", "reranker", "multivector", "silver"], ...] = (
        "bm25",
        "silver",
    )  # for methods that read passages; reranker and multivector need the recipe's group reranker
    # Numbers of rounds of retrieval: each searched source is predicted once with each of them.
    rounds: tuple[Annotated[int, Field(ge=1, le=MOST_ROUNDS)], ...] = Field((1,), min_length=1)
    # What a further round searches for: the question with the rationale that the student writes from what was found so
    # far, as rationales were searched for in training; or the question with the best passage of the round before
    next_query: NextQuery = "rationale"
    query: Literal["question", "question_and_options"] = (
        "question_and_options"  # what is searched for (KARD: both)
    )
    votes: int = Field(1, ge=1, le=1000)  # samples per question, of which the majority answers; 1: no vote
    # options: after the rationale, the option whose conclusion is most probable; open questions are read as ever
    answer: Literal["generated", "options"] = "generated"
    option_score: Literal["sum", "mean"] = "sum"  # of log p over the tokens of an option's conclusion
    # What options are scored behind: the rationale, the question alone (nothing is written first), or both: their mean
    options_behind: OptionsBehind = "rationale"
    confidence: bool = (
        True  # also how probable the student held its answer; costs a little of the engine's speed
    )
    # New questions to a student that reads only when unsure: confidence from which on it is believed; null: it reads.
    ask_below: float | None = Field(None, ge=0, le=1)
    sampling: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=128)
    engine: EngineConfig = EngineConfig()

    def content(self) -> dict[str, Any]:
        """As every configuration's; what makes no difference is left out.

        Without further rounds there is nothing to tell of them; with them, the names of sources tell their number.
        """
        plain = super().content()
        del plain["rounds"]
        if max(self.rounds) == 1:
            del plain["next_query"]
        if self.answer == "generated" or self.options_behind == "rationale":
            del plain["options_behind"]
        return plain

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(set(self.rounds)) < len(self.rounds) or len(set(self.sources)) < len(self.sources):
            raise ValueError("a source or a number of rounds stands there twice")
        if self.options_behind != "rationale" and self.answer != "options":
            raise ValueError(f"options_behind is {self.options_behind}, which needs answer: options")
        if self.votes > 1 and self.sampling.temperature == 0:
            raise ValueError(
                f"votes is {self.votes}, but sampling.temperature is 0, which draws the same text each time; set a "
                "temperature such as 0.7, or votes to 1"
            )
        if self.ask_below is not None and (self.votes > 1 or not self.confidence):
            raise ValueError(
                "ask_below needs the probability of one answer: set votes to 1 and confidence to true"
            )
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraStudent:
    """What a shared engine needs of a student that is a LoRA adapter."""

    base: str  # folder of the model it was trained on
    folder: str  # of the adapter, in peft's form

    @property
    def rank(self) -> int:
        """The adapter's rank."""
        with open(f"{self.folder}/adapter_config.json", encoding="utf-8") as source:
            return int(json.load(source)["r"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One artifact of answers, and all that it is made from."""

    artifact: Artifact
    questions: Sequence[Question]
    sources: Sequence[PassageSource]  # each question is answered once with each
    student_path: str  # folder of the student's model, merged if it was trained with LoRA
    config: PredictionConfig
    form: AnswerForm
    rendering: RenderingConfig = field(default_factory=RenderingConfig)
    seed: int = 0
    silver: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)  # passages by question id
    knowledge: KnowledgeSource | None = None
    passages: int = 0  # k, shown at most
    # The ones that the student was trained with, asked one after the other
    cues: tuple[str, ...] = (DEFAULT_CUE,)
    reasons: bool = True  # whether what it writes in its last pass begins with a rationale
    answer_cue: str = DEFAULT_CUE  # what it is asked with to answer at once
    # Worked examples by the question's pattern
    shots: Mapping[str, Sequence[Shot]] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    ask_below: float | None = None  # ask without passages first, and with them when less confident than this
    lora: LoraStudent | None = None  # None: the model at student_path is asked as it is

    def rows(self) -> pa.Table:
        """One row per (question, source)."""
        with_options = self.config.query == "question_and_options"
        return prediction_rows(self.questions, self.sources, self.silver, with_options=with_options)

    def unfinished(self) -> pa.Table:
        """Those of the rows that are not answered yet."""
        return unfinished_rows(self.rows(), self.artifact, WRITTEN, "prediction_id")

    def manner(self) -> Manner:
        """How the student is asked by an engine that runs its own model."""
        config = self.config
        return Manner(
            tokenizer=self.student_path,
            rendering=self.rendering,
            form=self.form,
            passages=self.passages,
            knowledge=self.knowledge if any(searched(source) for source in self.sources) else None,
            next_query=config.next_query,
            cues=self.cues,
            reasons=self.reasons,
            stop=self.stop,
            shots=self.shots,
            samples=config.votes,
            seed=self.seed if config.sampling.temperature > 0 else None,
            score_options=config.option_score if config.answer == "options" else None,
            options_behind=config.options_behind if self.reasons and len(self.cues) == 1 else "rationale",
            answer_cue=self.answer_cue,
            ask_below=self.ask_below,
        )


def prediction_rows(
    questions: Sequence[Question],
    sources: Sequence[PassageSource],
    silver: Mapping[str, list[dict[str, Any]]],
    *,
    with_options: bool,
) -> pa.Table:
    """One row per (question, source), in this order: prompts that begin with the same passage share it in vLLM's cache.

    ``silver`` maps question ids to their silver passages. The query is the question, and its options behind it when
    ``with_options``.
    """
    rows = [
        {
            "prediction_id": f"{source}/{q.question_id}",
            "question_id": q.question_id,
            "source": source,
            "pattern": q.pattern or q.kind,  # as the teacher is shown examples
            "question": q.question,
            "options": list(q.options),
            "query": search_query(q, with_options=with_options),
            "passages": silver.get(q.question_id, []) if source == "silver" else [],
        }
        for q in questions
        for source in sources
    ]
    schema = pa.schema(
        [(name, pa.string()) for name in ("prediction_id", "question_id", "source", "pattern", "question")]
        + [("options", pa.list_(pa.string())), ("query", pa.string()), ("passages", PASSAGE_LIST)]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def predict(prediction: Prediction) -> Manifest:
    """Answer what is not answered yet, with an engine of its own; writes schemas PREDICTIONS and SAMPLES."""
    asked, config = prediction, prediction.config
    _write([asked], [asked.manner()], asked.student_path, asked.artifact.spec.stage)
    written = collect_parts(asked.rows(), asked.artifact, WRITTEN, "prediction_id")
    scored, samples = score(written, {q.question_id: q for q in asked.questions}, asked.form)
    asked.artifact.write_table("predictions.parquet", scored)
    rows = {"predictions": scored.num_rows}
    if any(searched(source) for source in asked.sources):
        found = searches(written)
        asked.artifact.write_table(SEARCHES_FILE, found)
        rows["searches"] = found.num_rows
    if config.votes > 1:
        asked.artifact.write_table("samples.parquet", samples)
        rows["samples"] = samples.num_rows
    also_at_once = asked.manner().options_behind == "both" and asked.reasons
    cut = [
        was_cut(row, config.sampling.max_tokens, also_at_once=also_at_once)
        for row in written.select(["calls", "samples"]).to_pylist()
    ]
    return asked.artifact.seal(
        rows=rows,
        counts={
            "cut": sum(cut),
            "errors": sum(bool(e) for e in scored["error"].to_pylist()),
            "unparsable": scored["prediction_text"].null_count,
            "cues": list(asked.cues),
            "votes": config.votes,
        },
        seed=asked.seed,
    )


def predict_shared(predictions: Sequence[Prediction]) -> None:
    """Answer those of ``predictions`` that ask the same model with one engine for all of them.

    These are LoRA adapters on one model, prompted students of it, or one student that is asked in several ways. Their
    rows become parts of their own artifacts: :func:`predict` then finds them finished, starts no engine, and seals.
    What no other one can share with is left to :func:`predict`: an encoder-decoder, the only one with its model and
    settings, one that is finished. Students share an engine when their models, engine and sampling are the same, and
    all have adapters or none: on a CPU vLLM 0.32 applied an adapter of the same batch to rows without one. Resumable,
    row by row.
    """
    groups: dict[tuple[str, ...], list[Prediction]] = {}
    for one in predictions:
        if one.artifact.finished or is_encoder_decoder(one.student_path):
            continue
        config = one.config
        parts = (config.engine.model_dump_json(), config.sampling.model_dump_json(), str(_log_probs(config)))
        model = one.lora.base if one.lora else one.student_path
        groups.setdefault((model, str(one.lora is None), *parts), []).append(one)
    for (model, *_), group in groups.items():
        open_ = [one for one in group if one.unfinished().num_rows]
        if len(open_) < 2:
            continue
        adapters = {one.lora.folder: one.lora for one in open_ if one.lora is not None}
        ranks = [lora.rank for lora in adapters.values()]
        _write(
            open_,
            [replace(one.manner(), adapter=one.lora.folder if one.lora else "") for one in open_],
            model,
            f"predict ({len(open_)} students)",
            Adapters(rank=max(ranks), count=len(ranks)) if ranks else None,
        )


def _log_probs(config: PredictionConfig) -> bool:
    """Whether texts come with the log probabilities of their tokens; votes tell more than one sample's."""
    return config.confidence and config.votes == 1


def _write(
    predictions: Sequence[Prediction],
    manners: Sequence[Manner],
    model_path: str,
    label: str,
    adapters: Adapters | None = None,
) -> None:
    """Have the unfinished rows of ``predictions`` answered by one engine, each row kept with its own artifact."""
    tables = [one.unfinished() for one in predictions]
    todo = pa.concat_tables(
        table.append_column(STUDENT, pa.array([at] * table.num_rows, pa.int32()))
        for at, table in enumerate(tables)
    )
    first = predictions[0]
    config = first.config
    again = most_rounds(todo["source"].unique().to_pylist()) > 1
    with searching([manner.knowledge for manner in manners], beside=again) as search:
        write_parts(
            todo,
            _transform(manners, search, model_path, config, first.seed, adapters),
            PartsWriter([one.artifact.url(PARTS) for one in predictions], STUDENT, "prediction_id"),
            label=label,
            total=sum(len(one.questions) * len(one.sources) for one in predictions),
            block_rows=config.engine.batch_rows,
        )


def _transform(
    manners: Sequence[Manner],
    search: Searching,
    model_path: str,
    config: PredictionConfig,
    seed: int,
    adapters: Adapters | None,
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """Prompts, then the engine; nothing is made before there are rows for it."""

    def transform(rows: ray.data.Dataset) -> ray.data.Dataset:
        answer = dialogues(
            model_path=model_path,
            config=config.engine,
            sampling=config.sampling,
            seed=seed,
            ask=partial(Asking, manners, search),
            schema=WRITTEN.append(pa.field(STUDENT, pa.int32())),
            log_probs=_log_probs(config),
            adapters=adapters,
        )
        prompts = rows.map_batches(
            StudentPrompts,
            fn_constructor_args=(manners, search),
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0.25 if isinstance(search, SearchThere) else 0.5,  # who searches elsewhere needs less
        )
        return answer(prompts)

    return transform


def searches(written: pa.Table) -> pa.Table:
    """WRITTEN in, SEARCHES_TABLE out: what was searched for in each round, what it found and what it cost."""
    rows = [
        {"prediction_id": row["prediction_id"], "source": row["source"], "round": at, **search}
        for row in written.select(["prediction_id", "source", "searches"]).to_pylist()
        for at, search in enumerate(row["searches"], start=1)
    ]
    return pa.Table.from_pylist(rows, schema=SEARCHES_TABLE)


def score(
    written: pa.Table, questions: Mapping[str, Question], form: AnswerForm
) -> tuple[pa.Table, pa.Table]:
    """WRITTEN in, PREDICTIONS and SAMPLES out; a row without a readable answer, or with an error, is wrong."""
    rows, samples = [], []
    for row in written.to_pylist():
        read, all_read = read_samples(row, questions[row["question_id"]], form)
        prompt_tokens = sum(call["prompt_tokens"] for call in row["calls"])
        generated = sum(sum(call["generated_tokens"]) for call in row["calls"])
        rows.append({**row, **read, "prompt_tokens": prompt_tokens, "generated_tokens": generated})
        samples += all_read
    return pa.Table.from_pylist(rows, schema=PREDICTIONS), pa.Table.from_pylist(samples, schema=SAMPLES)
