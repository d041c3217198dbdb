"""Symbolic knowledge of kept rationales: a learning summary and supplementary knowledge (SKIntern, section 3.1).

The same teacher, ledger and accounting as for rationales. What cannot be read is asked again with another draw, and is
a failure when no draw can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import SamplingConfig
from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.backends.registry import load_backend
from kard_ray.teacher.backends.work import Item, Messages, Style
from kard_ray.teacher.config import TeacherConfig
from kard_ray.teacher.generation import generate
from kard_ray.teacher.symbolic_examples import SYMBOLIC_EXAMPLES, family_of
from kard_ray.teacher.symbolic_parsing import Malformed, SectionLimits, SymbolicKnowledge, parse
from kard_ray.teacher.symbolic_prompt import NOTES, SYMBOLIC_STOP, symbolic_messages

VERSION = 1

_IDS = [pa.field(name, pa.string()) for name in ("rationale_id", "question_id", "split")]

SYMBOLIC = pa.schema(
    [
        *_IDS,
        pa.field("summary", pa.string()),  # k^m
        pa.field("supplement", pa.string()),  # k^p
        pa.field("attempt", pa.int32()),  # from 0: how often the teacher was asked before
        pa.field("prompt_tokens", pa.int32()),
        pa.field("generated_tokens", pa.int32()),
    ]
)

FAILURES = pa.schema([*_IDS, pa.field("reason", pa.string()), pa.field("generated_text", pa.string())])


class SymbolicConfig(Frozen):
    """What the teacher notes down beside its rationales, and how often it may try."""

    # Kept rationales of a training question that get symbolic knowledge
    rationales: int = Field(2, ge=1, le=64)
    sampling: SamplingConfig = SamplingConfig(temperature=0.8, max_tokens=512)
    retries: int = Field(2, ge=0, le=16)  # further draws for texts that cannot be read
    limits: SectionLimits = SectionLimits()


def write_symbolic_knowledge(
    rationales: pa.Table,
    questions: Mapping[str, Question],
    config: SymbolicConfig,
    teacher: TeacherConfig,
    form: AnswerForm,
    artifact: Artifact,
    ledger: Ledger,
    *,
    benchmark: str,
) -> Manifest:
    """Symbolic knowledge for ``rationales`` (schema RATIONALES, see :func:`chosen`); writes schema SYMBOLIC.

    ``questions`` are by id; ``benchmark`` names the family of the examples.
    """
    rows = {row["rationale_id"]: row for row in rationales.to_pylist()}
    openings: dict[str, Messages] = {}
    family = family_of(benchmark)
    shown = [example.knowledge for example in SYMBOLIC_EXAMPLES[family]]
    found: list[dict[str, Any]] = []
    failures: dict[str, dict[str, Any]] = {}
    todo, models = list(rows), dict[str, str]()
    for attempt in range(config.retries + 1):
        if not todo:
            break
        items = []
        for name in todo:
            messages = _messages(rows[name], questions, form, family)
            openings[family] = messages[:-1]
            items.append(Item(item_id=name, opening=family, turn=messages[-1]["content"], samples=(attempt,)))
        replies, used = _ask(items, openings, config, teacher, ledger, attempt)
        models |= used
        todo = []
        for reply in replies.to_pylist():
            row = rows[reply["item_id"]]
            ids = {field.name: row[field.name] for field in _IDS}
            knowledge = _read(reply, config.limits, shown)
            if isinstance(knowledge, Malformed):
                failures[reply["item_id"]] = ids | {
                    "reason": knowledge.reason,
                    "generated_text": reply["generated_text"],
                }
                todo.append(reply["item_id"])
                continue
            failures.pop(reply["item_id"], None)
            tokens = {name: reply[name] for name in ("prompt_tokens", "generated_tokens")}
            said = {"summary": knowledge.summary, "supplement": knowledge.supplement, "attempt": attempt}
            found.append(ids | said | tokens)
    table = pa.Table.from_pylist(found, schema=SYMBOLIC).sort_by("rationale_id")
    artifact.write_table("symbolic.parquet", table)
    artifact.write_table("failures.parquet", pa.Table.from_pylist(list(failures.values()), schema=FAILURES))
    attempts = table["attempt"].to_pylist()
    return artifact.seal(
        rows={"symbolic": table.num_rows, "failures": len(failures)},
        counts={
            "rationales": len(rows),
            "read_at_attempt": {str(n): attempts.count(n) for n in sorted(set(attempts))},
            "failures": len(failures),
            "prompt_tokens": int(pc.sum(table["prompt_tokens"]).as_py() or 0),
            "generated_tokens": int(pc.sum(table["generated_tokens"]).as_py() or 0),
        },
        models=models,
        seed=teacher.seed,
    )


def chosen(rationales: pa.Table, per_question: int, test_split: str) -> pa.Table:
    """The first ``per_question`` kept rationales of every training question."""
    kept = rationales.filter(pc.and_(rationales["kept"], pc.not_equal(rationales["split"], test_split)))
    kept = kept.sort_by([("question_id", "ascending"), ("sample", "ascending")])
    seen: dict[str, int] = {}
    at = []
    for row, question in enumerate(kept["question_id"].to_pylist()):
        seen[question] = seen.get(question, 0) + 1
        if seen[question] <= per_question:
            at.append(row)
    return kept.take(pa.array(at, pa.int64()))


def _messages(
    row: Mapping[str, Any], questions: Mapping[str, Question], form: AnswerForm, family: Any
) -> list[dict[str, str]]:
    question = questions[row["question_id"]]
    return symbolic_messages(
        question=question.question,
        options=question.options,
        answer=question.answer,
        gold=question.gold,
        rationale=row["rationale"],
        form=form,
        examples=SYMBOLIC_EXAMPLES[family],
    )


def _ask(
    items: Sequence[Item],
    openings: Mapping[str, Messages],
    config: SymbolicConfig,
    teacher: TeacherConfig,
    ledger: Ledger,
    attempt: int,
) -> tuple[pa.Table, Mapping[str, str]]:
    stop = SYMBOLIC_STOP if teacher.template == "plain" else ()
    sampling = config.sampling.model_copy(update={"stop": (*config.sampling.stop, *stop)})
    style = Style(template=teacher.template, label=NOTES)
    backend = load_backend(teacher, sampling, style, seed=teacher.seed + attempt, samples=1)
    label = f"symbolic, retry {attempt}" if attempt else "symbolic"
    return generate(items, openings, backend, ledger, label=label).table, backend.models()


def _read(
    reply: Mapping[str, Any], limits: SectionLimits, shown: Sequence[SymbolicKnowledge]
) -> SymbolicKnowledge | Malformed:
    if reply["error"]:
        return Malformed(reply["error"])
    return parse(reply["generated_text"], finish_reason=reply["finish_reason"], limits=limits, shown=shown)
