"""Answers of one student: question → passages → vLLM on Ray Data → parsed answer.

A method that reads passages is predicted once per passage source: ``bm25`` (the question is the query, as in use) and
``silver`` (the teacher's rationale is the query: the upper bound). All sources of a student share one engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import ray

from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.knowledge.retrieval import PASSAGE_LIST, Mode, RetrievalConfig, Retriever
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import EngineConfig, SamplingConfig, generation
from kard_ray.runtime.parts import map_resumable
from kard_ray.student.question_passages import search_query
from kard_ray.student.rendering import DEFAULT_CUE, Renderer, RenderingConfig

VERSION = 2

PassageSource = Literal["none", "bm25", "vector", "hybrid", "silver"]
_MODES: tuple[Mode, ...] = ("bm25", "vector", "hybrid")  # sources that are searched for

GENERATION = pa.schema(
    [
        pa.field("prediction_id", pa.string()),
        pa.field("question_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("passage_ids", pa.list_(pa.string())),
        pa.field("generated_text", pa.string()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("generated_tokens", pa.int32()),
        pa.field("error", pa.string()),
    ]
)

PREDICTIONS = pa.schema(
    [
        *GENERATION,
        pa.field(
            "prediction", pa.int32()
        ),  # index into options; null when none could be read or the question is open
        pa.field(
            "prediction_text", pa.string()
        ),  # the option or the open answer; null when none could be read
        pa.field("correct", pa.bool_()),
    ]
)


class PredictionConfig(Frozen):
    """Which questions are answered, with which passages, and how text is drawn."""

    split: Literal["dev", "test"] = "test"
    sources: tuple[Literal["bm25", "vector", "hybrid", "silver"], ...] = (
        "bm25",
        "silver",
    )  # for methods that read passages
    query: Literal["question", "question_and_options"] = (
        "question_and_options"  # what is searched for (KARD: both)
    )
    sampling: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=128)
    engine: EngineConfig = EngineConfig()


@dataclass(frozen=True, slots=True)
class KnowledgeSource:
    """The knowledge base that questions are asked of."""

    folder: str
    version: str | int | None  # tag or LanceDB number; None: the newest
    retrieval: RetrievalConfig


class StudentPrompts:
    """Adds ``prompt_ids`` from question and passages; an actor's callable.

    Rows whose source is a retrieval mode get the passages that their query finds in ``knowledge``. One actor for both
    steps: each one more is a process that imports its libraries while the engine does.
    """

    def __init__(
        self, model_path: str, config: dict[str, Any], form: AnswerForm, k: int,
        knowledge: KnowledgeSource | None, cue: str = DEFAULT_CUE,
    ) -> None:  # fmt: skip
        from transformers import AutoConfig, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
        self.renderer = Renderer(
            tokenizer,
            RenderingConfig.model_validate(config),
            form,
            encoder_decoder=AutoConfig.from_pretrained(model_path, local_files_only=True).is_encoder_decoder,
        )
        self.k, self.cue = k, cue
        self.retrievers: dict[str, Retriever] = {}
        if knowledge is not None:
            for mode in _MODES:
                self.retrievers[mode] = Retriever(
                    knowledge.folder, k, "query", mode, knowledge.retrieval, knowledge.version
                )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Columns of :func:`prediction_rows` in; ids, ``passage_ids``, ``prompt_ids`` out."""
        rows = batch.to_pylist()
        for mode, retriever in self.retrievers.items():
            asking = [row for row in rows if row["source"] == mode]
            if asking:
                found = retriever(pa.table({"query": [row["query"] for row in asking]}))[
                    "passages"
                ].to_pylist()
                for row, passages in zip(asking, found, strict=True):
                    row["passages"] = passages
        ids, shown = [], []
        for row in rows:
            passages = row["passages"][: self.k]
            shown.append([p["passage_id"] for p in passages])
            texts = [(p["title"], p["text"]) for p in passages]
            ids.append(self.renderer.prompt_ids(row["question"], row["options"], texts, self.cue))
        return (
            batch.select(["prediction_id", "question_id", "source"])
            .append_column("passage_ids", pa.array(shown, pa.list_(pa.string())))
            .append_column("prompt_ids", pa.array(ids, pa.list_(pa.int32())))
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
            "question": q.question,
            "options": list(q.options),
            "query": search_query(q, with_options=with_options),
            "passages": silver.get(q.question_id, []) if source == "silver" else [],
        }
        for q in questions
        for source in sources
    ]
    schema = pa.schema(
        [(name, pa.string()) for name in ("prediction_id", "question_id", "source", "question")]
        + [("options", pa.list_(pa.string())), ("query", pa.string()), ("passages", PASSAGE_LIST)]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def predict(
    questions: Sequence[Question],
    sources: Sequence[PassageSource],
    silver: Mapping[str, list[dict[str, Any]]],
    *,
    student_path: str,
    knowledge: KnowledgeSource | None,
    k: int,
    cue: str,
    rendering: RenderingConfig,
    config: PredictionConfig,
    form: AnswerForm,
    seed: int,
    artifact: Artifact,
    label: str,
) -> Manifest:
    """Answer every question once per source; writes schema PREDICTIONS. ``k`` passages are shown at most.

    ``cue`` is what the prompts end with: the one that the student's answers were trained with.
    """
    generate = generation(model_path=student_path, config=config.engine, sampling=config.sampling, seed=seed)

    def transform(rows: ray.data.Dataset) -> ray.data.Dataset:
        prompts = rows.map_batches(
            StudentPrompts,
            fn_constructor_args=(
                student_path,
                rendering.model_dump(mode="json"),
                form,
                k,
                knowledge if set(_MODES) & set(sources) else None,
                cue,
            ),
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0.5,
        )
        return generate(prompts)

    written = map_resumable(
        prediction_rows(questions, sources, silver, with_options=config.query == "question_and_options"),
        transform,
        artifact=artifact,
        schema=GENERATION,
        id_column="prediction_id",
        label=label,
        block_rows=config.engine.batch_rows,
    )
    scored = score(written, {q.question_id: q for q in questions}, form)
    artifact.write_table("predictions.parquet", scored)
    return artifact.seal(
        rows={"predictions": scored.num_rows},
        counts={
            "errors": sum(bool(e) for e in scored["error"].to_pylist()),
            "unparsable": scored["prediction_text"].null_count,
        },
        seed=seed,
    )


def score(written: pa.Table, questions: Mapping[str, Question], form: AnswerForm) -> pa.Table:
    """GENERATION in, PREDICTIONS out; a text without a readable answer, or an error, counts as wrong."""
    options, answers, correct = [], [], []
    for row in written.select(["question_id", "generated_text"]).to_pylist():
        answer = read_answer(row["generated_text"], questions[row["question_id"]], form)
        options.append(answer.option if answer else None)
        answers.append(answer.text if answer else None)
        correct.append(answer is not None and answer.correct)
    return (
        written.append_column("prediction", pa.array(options, pa.int32()))
        .append_column("prediction_text", pa.array(answers, pa.string()))
        .append_column("correct", pa.array(correct, pa.bool_()))
    )
