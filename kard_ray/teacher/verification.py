"""Which rationales are kept: every filter of the recipe asked in its order, on Ray Data, a question's samples together.

Nothing disappears: a dropped rationale stays in the table with the filter's name and reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm, conclusion
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model
from kard_ray.runtime.progress import Progress
from kard_ray.teacher.conclusions import closing_sentence
from kard_ray.teacher.filters.base import AnyFilter, Filter, GroupFilter, ModelFilter, Written, reasons
from kard_ray.teacher.filters.registry import FilterSpec, filters_named
from kard_ray.teacher.shaping import supporting_sentences

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

# A row of a block is a question with its samples, so that no boundary of blocks or batches can part them, and what
# the samples share is carried once.
_SAMPLE = pa.struct([pa.field("row", pa.int64()), *RATIONALES])
_QUESTION = pa.schema(
    [
        pa.field("question", pa.string()),
        pa.field("options", pa.list_(pa.string())),
        pa.field("answer", pa.int32()),
        pa.field("gold", pa.string()),
        pa.field("passages", pa.list_(pa.string())),
        pa.field("samples", pa.list_(_SAMPLE)),
    ]
)
_BLOCK_SAMPLES = 2000  # of one task: some tenths of a second with the plain filters
_MODEL_QUESTIONS = 64  # judged by a model between two signs of progress
_CPUS = 0.5  # of a task and of an actor: together they fit on one core, else tasks would wait for the actor's for ever

Passages = Mapping[str, Sequence[Mapping[str, str]]]  # by question id: title and text of each


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a rationale: kept, or dropped by the named filter."""

    dropped_by: str = ""
    because: str = ""

    @property
    def kept(self) -> bool:
        """Whether no filter objected."""
        return not self.dropped_by


def judge(samples: Sequence[Written], filters: Sequence[Filter | GroupFilter]) -> list[Verdict]:
    """One verdict per sample of a question; each filter sees only what those before it kept."""
    verdicts = [Verdict()] * len(samples)
    for check in filters:
        left = [at for at, verdict in enumerate(verdicts) if verdict.kept]
        for at, reason in zip(left, reasons(check, [samples[at] for at in left]), strict=True):
            if reason is not None:
                verdicts[at] = Verdict(check.name, reason)
    return verdicts


def verify(
    written: pa.Table,
    questions: Mapping[str, Question],
    passages: Passages,
    filters: Sequence[str | FilterSpec],
    form: AnswerForm,
    *,
    conclusion: Literal["written", "added"] = "written",
    supporting: int = 0,
) -> pa.Table:
    """GENERATION in, RATIONALES out: the same rows in the same order, each with the first objection of ``filters``.

    Of each text ``supporting`` sentences are kept (:mod:`kard_ray.teacher.shaping`; 0: all); a text without one is
    dropped by "supporting_sentences". ``conclusion`` "added" gives a text without a closing sentence the gold one. A
    row with an error is dropped by "error". Filters that need a model run in actors, the others in tasks. Raises
    UserError if rows were lost.
    """
    blocks = list(
        _blocks(written, questions, passages, form, added=conclusion == "added", supporting=supporting)
    )
    found = [RATIONALES.empty_table().add_column(0, _SAMPLE.field(0), pa.array([], pa.int64()))]
    if blocks:
        dataset: ray.data.Dataset = ray.data.from_arrow(blocks)
        for stage in _stages(filters_named(filters)):
            dataset = _asked(dataset, stage, form)
        with Progress("verification", total=written.num_rows, unit="rationales") as progress:
            for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                found.append(_samples(batch))
                progress.advance(found[-1].num_rows)
    table = pa.concat_tables(found).sort_by("row").drop_columns("row")
    if not table["rationale_id"].equals(written["rationale_id"].cast(pa.string())):
        raise UserError(
            f"stage rationales: {written.num_rows} rationales went into verification and {table.num_rows} came out; "
            "run the same command again: finished texts are kept."
        )
    return table


def models_of(filters: Sequence[str | FilterSpec]) -> dict[str, str]:
    """Revision by reference of the models that ``filters`` judge with, for the manifest."""
    models = [resolve_model(it.model) for it in filters_named(filters) if isinstance(it, ModelFilter)]
    return {model.ref: model.revision for model in models}


def count(rationales: pa.Table) -> dict[str, Any]:
    """What the manifest tells: samples kept and dropped by filter, questions left without a rationale, tokens."""
    dropped = rationales.filter(pc.not_equal(rationales["dropped_by"], ""))
    by_filter = dropped.group_by("dropped_by").aggregate([([], "count_all")]).sort_by("dropped_by")
    by_question = rationales.group_by("question_id").aggregate([("kept", "any")])
    without = by_question.filter(pc.invert(by_question["kept_any"])).sort_by("question_id")
    return {
        "samples": rationales.num_rows,
        "kept": _sum(rationales["kept"]),
        "dropped": dict(
            zip(by_filter["dropped_by"].to_pylist(), by_filter["count_all"].to_pylist(), strict=True)
        ),
        "questions": by_question.num_rows,
        "questions_with_rationale": by_question.num_rows - without.num_rows,
        "questions_without_rationale": without["question_id"].to_pylist(),
        "prompt_tokens": _sum(rationales["prompt_tokens"]),
        "generated_tokens": _sum(rationales["generated_tokens"]),
    }


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _blocks(
    written: pa.Table,
    questions: Mapping[str, Question],
    passages: Passages,
    form: AnswerForm,
    *,
    added: bool,
    supporting: int = 0,
) -> Iterator[pa.Table]:
    """Tables of schema _QUESTION with about _BLOCK_SAMPLES samples each; a question's are sorted by ``sample``."""
    error = pc.fill_null(written["error"], "")
    columns = {
        "row": pa.array(np.arange(written.num_rows)),
        "rationale": pc.utf8_trim_whitespace(pc.fill_null(written["generated_text"], "")),
        "kept": pc.equal(error, ""),
        "dropped_by": pc.if_else(pc.equal(error, ""), "", "error"),
        "dropped_because": error,
    }
    table = pa.table(
        [columns.get(it.name, _column(written, it.name)) for it in _SAMPLE], schema=pa.schema(list(_SAMPLE))
    )
    table = table.sort_by([("question_id", "ascending"), ("sample", "ascending"), ("row", "ascending")])
    codes = table["question_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    first = 0
    while first < len(starts):
        # Whole questions until there are enough samples.
        last = int(np.searchsorted(starts, starts[first] + _BLOCK_SAMPLES))
        end = int(starts[last]) if last < len(starts) else table.num_rows
        samples = table.slice(starts[first], end - starts[first])
        yield _block(samples, questions, passages, form, added=added, supporting=supporting)
        first = last


def _column(written: pa.Table, name: str) -> pa.ChunkedArray | None:
    return written[name] if name in written.column_names else None


def _block(
    samples: pa.Table,
    questions: Mapping[str, Question],
    passages: Passages,
    form: AnswerForm,
    *,
    added: bool,
    supporting: int,
) -> pa.Table:
    rows = []
    for question_id, group in groupby(samples.to_pylist(), key=lambda row: row["question_id"]):
        q = questions[question_id]
        rationales = list(group)
        if supporting:
            rationales = [_shaped(row, q, supporting) for row in rationales]
        if added:
            closing = conclusion(q.options, q.answer, form, q.gold)
            rationales = [_closed(row, closing) for row in rationales]
        rows.append(
            {
                "question": q.question,
                "options": list(q.options),
                "answer": q.answer,
                "gold": q.gold,
                "passages": [
                    ": ".join(filter(None, (it["title"], it["text"]))) for it in passages.get(question_id, ())
                ],
                "samples": rationales,
            }
        )
    return pa.Table.from_pylist(rows, schema=_QUESTION)


def _shaped(row: dict[str, Any], question: Question, limit: int) -> dict[str, Any]:
    """``row`` with what of its text argues for the right answer, and the text's own closing sentence."""
    if not row["kept"]:
        return row
    text = supporting_sentences(row["rationale"], question.options, question.answer, limit=limit)
    if text:
        return row | {"rationale": f"{text} {closing_sentence(row['rationale'])}".strip()}
    return row | {
        "kept": False,
        "dropped_by": "supporting_sentences",
        "dropped_because": "no sentence argues for the right answer without weighing the others",
    }


def _closed(row: dict[str, Any], closing: str) -> dict[str, Any]:
    """``row`` with ``closing`` at the end of a text that has no closing sentence of its own."""
    text = row["rationale"]
    if not text or "so the answer is" in text.lower():
        return row
    return row | {"rationale": f"{text} {closing}"}


def _stages(filters: Sequence[AnyFilter]) -> Iterator[ModelFilter | list[Filter | GroupFilter]]:
    """``filters`` in their order: those between two that need a model are asked in one go."""
    plain: list[Filter | GroupFilter] = []
    for check in filters:
        if not isinstance(check, ModelFilter):
            plain.append(check)
            continue
        if plain:
            yield plain
            plain = []
        yield check
    if plain:
        yield plain


def _asked(
    dataset: ray.data.Dataset, filters: ModelFilter | Sequence[Filter | GroupFilter], form: AnswerForm
) -> ray.data.Dataset:
    """``dataset`` (schema _QUESTION) after the plain ``filters``, or after one that needs a model."""
    if not isinstance(filters, ModelFilter):
        return dataset.map_batches(
            partial(judge_block, filters=filters, form=form),
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=_CPUS,
        )
    return dataset.map_batches(
        _ModelJudge,
        fn_constructor_args=(filters, resolve_model(filters.model).path, form),
        batch_format="pyarrow",
        batch_size=_MODEL_QUESTIONS,
        compute=ray.data.ActorPoolStrategy(size=filters.replicas),
        num_cpus=_CPUS,
        num_gpus=filters.gpus_per_replica,
    )


class _ModelJudge:
    """Asks one filter that holds a model; an actor's callable."""

    def __init__(self, check: ModelFilter, model_path: str, form: AnswerForm) -> None:
        self.check, self.form = check.load(model_path), form

    def __call__(self, batch: pa.Table) -> pa.Table:
        return judge_block(batch, [self.check], self.form, together=True)


def judge_block(
    batch: pa.Table, filters: Sequence[Filter | GroupFilter], form: AnswerForm, *, together: bool = False
) -> pa.Table:
    """``batch`` (schema _QUESTION) with the objections of ``filters`` to the samples that were still kept.

    ``together``: the samples of all questions are shown to the filters at once, as those with a model want it.
    """
    rows = batch.to_pylist()
    groups = [[(row, sample) for sample in row["samples"] if sample["kept"]] for row in rows]
    if together:
        groups = [[pair for group in groups for pair in group]]
    for group in groups:
        verdicts = judge([_written(row, sample, form) for row, sample in group], filters)
        for (_, sample), verdict in zip(group, verdicts, strict=True):
            sample.update(kept=verdict.kept, dropped_by=verdict.dropped_by, dropped_because=verdict.because)
    return pa.Table.from_pylist(rows, schema=_QUESTION)


def _written(row: Mapping[str, Any], sample: Mapping[str, Any], form: AnswerForm) -> Written:
    return Written(
        rationale=sample["rationale"],
        question=row["question"],
        options=row["options"],
        answer=row["answer"],
        gold=row["gold"],
        passages=row["passages"],
        answer_form=form,
    )


def _samples(batch: pa.Table) -> pa.Table:
    """The samples of all questions of ``batch``: schema RATIONALES and ``row``."""
    samples = pc.list_flatten(batch["samples"]).combine_chunks()
    return pa.Table.from_arrays(samples.flatten(), schema=pa.schema(list(_SAMPLE)))
