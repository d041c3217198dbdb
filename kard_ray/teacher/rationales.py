"""Teacher rationales at scale: render and generate on Ray Data with vLLM, then verify (KARD, section 3.1).

One row per sample. Nothing disappears: a dropped rationale stays in the artifact with its reason, a failed
request with its error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import ray
from pydantic import Field

from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import EngineConfig, SamplingConfig, generation
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model
from kard_ray.runtime.parts import map_resumable
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.registry import FilterName, filters_named
from kard_ray.teacher.focus import focus
from kard_ray.teacher.prompt import PLAIN_STOP, TeacherTemplate, prompt_ids, teacher_messages

VERSION = 2

GENERATION = pa.schema(
    [
        pa.field("rationale_id", pa.string()),
        pa.field("question_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("sample", pa.int32()),
        pa.field("generated_text", pa.string()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("generated_tokens", pa.int32()),
        pa.field("error", pa.string()),
    ]
)

RATIONALES = pa.schema(
    [
        pa.field("rationale_id", pa.string()),
        pa.field("question_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("sample", pa.int32()),
        pa.field("rationale", pa.string()),
        pa.field("kept", pa.bool_()),
        pa.field("dropped_by", pa.string()),
        pa.field("dropped_because", pa.string()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("generated_tokens", pa.int32()),
    ]
)


class TeacherConfig(Frozen):
    """Who writes rationales, how many, and which are kept."""

    model: str = "bundled:smollm2-135m-instruct"  # model reference
    samples: int = Field(2, ge=1, le=64)  # l, rationales per training question
    test_samples: int = Field(
        1, ge=0, le=64
    )  # per test question, for the silver upper bound; 0: no silver prediction
    grounding: Literal["none", "gold"] = "none"  # show the gold passages to the teacher (a weak one needs it)
    focus_sentences: int = Field(0, ge=0)  # of each shown passage, those that bear on the question; 0: all
    template: TeacherTemplate = "chat"
    sampling: SamplingConfig = SamplingConfig(temperature=0.8, max_tokens=128)
    filters: tuple[FilterName, ...] = ("concludes",)
    engine: EngineConfig = EngineConfig()
    seed: int = 42


def requests(
    questions: Sequence[Question],
    config: TeacherConfig,
    texts: Mapping[str, Mapping[str, str]],
    *,
    test_split: str,
) -> pa.Table:
    """One row per (question, sample) to generate; ``texts`` are the gold passages by id."""
    rows: list[dict[str, Any]] = []
    for q in questions:
        gold = [texts[p]["text"] for p in q.gold_passages if p in texts] if config.grounding == "gold" else []
        shown = _focused(gold, q.question, q.answer_text, config.focus_sentences)
        rows += (
            {
                "rationale_id": f"{q.question_id}#{sample}",
                "question_id": q.question_id,
                "split": q.split,
                "sample": sample,
                "pattern": q.pattern or q.kind,
                "question": q.question,
                "options": list(q.options),
                "answer": q.answer,
                "facts": shown,
            }
            for sample in range(config.test_samples if q.split == test_split else config.samples)
        )
    # Samples of one question, and questions of one pattern, stand together: their prompts share a cached prefix.
    rows.sort(key=lambda row: (row["pattern"], row["question_id"], row["sample"]))
    return pa.Table.from_pylist(rows)


def _focused(passages: Sequence[str], question: str, answer: str, limit: int) -> list[str]:
    if not limit:
        return list(passages)
    return [focus(text, question=question, answer=answer, limit=limit) for text in passages]


class TeacherRenderer:
    """Adds ``prompt_ids`` to a batch of requests; an actor's callable."""

    def __init__(
        self,
        model_path: str,
        examples: dict[str, list[dict[str, Any]]],
        form: AnswerForm,
        template: TeacherTemplate,
    ) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
        self.examples = {name: [WorkedExample(**row) for row in rows] for name, rows in examples.items()}
        self.form, self.template = form, template

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Columns of ``requests`` in; the id columns and ``prompt_ids`` out."""
        ids = []
        for row in batch.to_pylist():
            messages = teacher_messages(
                question=row["question"],
                options=row["options"],
                answer=row["answer"],
                facts=row["facts"],
                examples=self.examples[row["pattern"]],
                form=self.form,
            )
            ids.append(prompt_ids(self.tokenizer, messages, self.template))
        keep = ["rationale_id", "question_id", "split", "sample"]
        return batch.select(keep).append_column("prompt_ids", pa.array(ids, pa.list_(pa.int32())))


def write_rationales(
    questions: Sequence[Question],
    examples: Callable[[str], Sequence[WorkedExample]],
    passages: Callable[[Sequence[str]], Mapping[str, Mapping[str, str]]],
    config: TeacherConfig,
    form: AnswerForm,
    artifact: Artifact,
    *,
    test_split: str,
) -> Manifest:
    """Generate, verify, and store all rationales of ``questions`` (schema RATIONALES).

    Questions of ``test_split`` get ``config.test_samples`` rationales, the others ``config.samples``.
    """
    model = resolve_model(config.model)
    texts = passages(sorted({p for q in questions for p in q.gold_passages}))
    if config.grounding == "gold" and not texts:
        raise UserError(
            "recipe field teacher.grounding: 'gold' needs questions with gold passages that are in the knowledge "
            "base, and there are none; use 'none'."
        )
    rows = requests(questions, config, texts, test_split=test_split)
    shots = {
        name: [_shown_example(e, config.focus_sentences) for e in examples(name)]
        for name in sorted({q.pattern or q.kind for q in questions})
    }
    stop = PLAIN_STOP if config.template == "plain" else ()
    sampling = config.sampling.model_copy(update={"stop": (*config.sampling.stop, *stop)})
    generate = generation(model_path=model.path, config=config.engine, sampling=sampling, seed=config.seed)

    def transform(todo: ray.data.Dataset) -> ray.data.Dataset:
        prompts = todo.map_batches(
            TeacherRenderer,
            fn_constructor_args=(model.path, shots, form, config.template),
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0.1,
        )
        return generate(prompts)

    written = map_resumable(
        rows,
        transform,
        artifact=artifact,
        schema=GENERATION,
        id_column="rationale_id",
        label="rationales",
        block_rows=config.engine.batch_rows,
    )
    verified = verify(written, {q.question_id: q for q in questions}, texts, config.filters, form)
    artifact.write_table("rationales.parquet", verified)
    return artifact.seal(
        rows={"rationales": verified.num_rows},
        counts=count(verified),
        models={model.ref: model.revision},
        seed=config.seed,
    )


def _shown_example(example: WorkedExample, limit: int) -> dict[str, Any]:
    """A worked example whose passages are cut like those of the questions."""
    answer = example.options[example.answer]
    return asdict(example) | {"passages": _focused(example.passages, example.question, answer, limit)}


def verify(
    written: pa.Table,
    questions: Mapping[str, Question],
    texts: Mapping[str, Mapping[str, str]],
    names: Sequence[FilterName],
    form: AnswerForm,
) -> pa.Table:
    """GENERATION in, RATIONALES out: same rows, with ``kept`` and the first objection of the filters."""
    judge = partial(_objection, filters=filters_named(names), form=form)
    rows = []
    for row in written.to_pylist():
        q = questions[row["question_id"]]
        passages = [f"{texts[p]['title']}: {texts[p]['text']}" for p in q.gold_passages if p in texts]
        by, because = ("error", row["error"]) if row["error"] else judge(row["generated_text"], q, passages)
        rows.append(
            {name: row[name] for name in RATIONALES.names if name in row}
            | {
                "rationale": row["generated_text"].strip(),
                "kept": not by,
                "dropped_by": by,
                "dropped_because": because,
            }
        )
    return pa.Table.from_pylist(rows, schema=RATIONALES)


def _objection(
    text: str, question: Question, passages: Sequence[str], *, filters: Sequence[Any], form: AnswerForm
) -> tuple[str, str]:
    written = Written(
        rationale=text,
        question=question.question,
        options=question.options,
        answer=question.answer,
        passages=passages,
        answer_form=form,
    )
    for check in filters:
        if reason := check.reason(written):
            return check.name, reason
    return "", ""


def count(rationales: pa.Table) -> dict[str, Any]:
    """What the manifest tells: samples kept and dropped by filter, questions left without a rationale, tokens."""
    rows = rationales.select(
        ["question_id", "kept", "dropped_by", "prompt_tokens", "generated_tokens"]
    ).to_pylist()
    kept = {row["question_id"] for row in rows if row["kept"]}
    asked = {row["question_id"] for row in rows}
    return {
        "samples": len(rows),
        "kept": sum(row["kept"] for row in rows),
        "dropped": dict(sorted(Counter(row["dropped_by"] for row in rows if row["dropped_by"]).items())),
        "questions": len(asked),
        "questions_with_rationale": len(kept),
        "questions_without_rationale": sorted(asked - kept),
        "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
        "generated_tokens": sum(row["generated_tokens"] for row in rows),
    }
