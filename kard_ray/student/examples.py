"""Training rows of a student: questions, rationales and what helps to read them, to token ids."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa

from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.student.help import Help, Shot
from kard_ray.student.methods.base import Evidence, Example, Given, Method
from kard_ray.student.mixing import with_answers, with_found
from kard_ray.student.rationale_choice import Choice, ordered
from kard_ray.student.rendering import DEFAULT_CUE, Renderer

# prompt_ids + target_ids are one training sequence; the loss is on target_ids only, each times the row's weight.
TRAINING = pa.schema(
    [
        pa.field("question_id", pa.string()),
        pa.field("prompt_ids", pa.list_(pa.int32())),
        pa.field("target_ids", pa.list_(pa.int32())),
        pa.field("weight", pa.float64()),
        pa.field("stage", pa.int32()),  # of the curriculum, from 1; always 1 without one
    ]
)


def evidence_by_question(
    rationales: pa.Table,
    silver: pa.Table | None,
    knowledge: Mapping[str, Sequence[Help]] | None = None,
    *,
    per_question: int,
    seed: int,
    choice: Choice = "random",
) -> dict[str, list[Evidence]]:
    """Up to ``per_question`` kept rationales of each question, by :func:`rationale_choice.ordered`.

    Those that have symbolic ``knowledge`` (see :func:`help_by_rationale`) come first.
    """
    knowledge = knowledge or {}
    passages = {}
    if silver is not None:
        for row in silver.to_pylist():
            passages[row["rationale_id"]] = [(p["title"], p["text"]) for p in row["passages"]]
    found: dict[str, list[Evidence]] = defaultdict(list)
    for row in rationales.sort_by("rationale_id").to_pylist():
        if row["kept"]:
            found[row["question_id"]].append(
                Evidence(
                    rationale=row["rationale"],
                    silver=passages.get(row["rationale_id"], []),
                    help=knowledge.get(row["rationale_id"], ()),
                )
            )
    return {
        question_id: ordered(items, choice, seed=seed, question_id=question_id)[:per_question]
        for question_id, items in found.items()
    }


def passages_by_question(found: pa.Table | None) -> dict[str, list[tuple[str, str]]]:
    """What each question found (schema QUESTION_PASSAGES), best first, as (title, text)."""
    rows = found.to_pylist() if found is not None else []
    return {row["question_id"]: [(p["title"], p["text"]) for p in row["passages"]] for row in rows}


def help_by_rationale(compressed: pa.Table | None) -> dict[str, list[Help]]:
    """The symbolic knowledge of each rationale (schema COMPRESSED), one entry per stage in ascending order."""
    found: dict[str, list[Help]] = defaultdict(list)
    if compressed is not None:
        for row in compressed.sort_by([("rationale_id", "ascending"), ("stage", "ascending")]).to_pylist():
            found[row["rationale_id"]].append(Help(summary=row["summary"], supplement=row["supplement"]))
    return dict(found)


def shots_by_question(
    nearest: pa.Table | None, questions: Sequence[Question], evidence: Mapping[str, Sequence[Evidence]]
) -> dict[str, list[Shot]]:
    """The examples of each question (schema SHOTS), nearest first, each with its own first rationale.

    An example that is none of ``questions``, the training questions with a kept rationale, is left out.
    """
    known = {q.question_id: q for q in questions}
    written = {
        name: Shot(
            question=q.question, options=q.options, written=f"{DEFAULT_CUE} {evidence[name][0].rationale}"
        )
        for name, q in known.items()
    }
    rows = nearest.to_pylist() if nearest is not None else []
    return {row["question_id"]: [written[n] for n in row["shots"] if n in written] for row in rows}


def build_examples(
    questions: Sequence[Question],
    evidence: Mapping[str, Sequence[Evidence]],
    method: Method,
    *,
    found: Mapping[str, Sequence[tuple[str, str]]],
    passages: int,
    form: AnswerForm,
    alpha: float,
    shots: Mapping[str, Sequence[Shot]] | None = None,
    fractions: tuple[float, ...] = (),
    answer_weight: float = 0.0,
    found_share: float = 0.0,
    seed: int = 0,
) -> list[Example]:
    """Rows of ``method`` for ``questions``, by ascending stage and then in question order.

    ``found`` is as in :func:`passages_by_question`, ``shots`` as in :func:`shots_by_question`. Methods without
    rationales are given only the questions that have one too, so that methods are compared on the same training
    questions. ``answer_weight``, ``found_share`` and ``seed`` are those of the student's configuration. Raises
    ValueError for a curriculum without ``fractions``.
    """
    if method.curriculum != "none" and not fractions:
        raise ValueError(f"{method.name} has a curriculum, which needs the fractions of its stages")
    rows: list[Example] = []
    for question in questions:
        items = evidence.get(question.question_id, [])
        if items:
            passages_found = found.get(question.question_id, ())
            if method.passages_from == "rationale":
                items = with_found(items, passages_found, found_share, f"{seed}:{question.question_id}")
            given = Given(
                question=question,
                evidence=items,
                found=passages_found,
                shots=(shots or {}).get(question.question_id, ()),
                passages=passages,
                form=form,
                alpha=alpha,
                fractions=fractions,
            )
            of_question = list(method.examples(given))
            if answer_weight and method.reasons and not method.multi_task:
                of_question = with_answers(of_question, given, answer_weight)
            rows += of_question
    return sorted(rows, key=lambda row: row.stage)


def tokenize(examples: Sequence[Example], renderer: Renderer) -> pa.Table:
    """Schema TRAINING; every row has at least one label token (the EOS).

    A row's weight is that of its task, and times (target tokens of all rows) / (target tokens of its task's rows). So
    the sum of weight * loss over all target tokens, divided by their number, is the weighted sum of the two tasks' mean
    losses per token, as in the trainers that SKIntern compares with (papers' L = (1 - alpha) L_r + alpha L_y). Without
    it an answer of 8 tokens beside a rationale of 80 had a twentieth of the loss, not alpha = 0.3.
    """
    prompts = [
        renderer.prompt_ids(
            e.question.question, e.question.options, e.passages, e.cue, help=e.help, shots=e.shots
        )
        for e in examples
    ]
    targets = [renderer.target_ids(e.target) for e in examples]
    tokens: Counter[str] = Counter()
    for example, target in zip(examples, targets, strict=True):
        tokens[example.task] += len(target)
    rows = [
        {
            "question_id": e.question.question_id,
            "prompt_ids": prompt,
            "target_ids": target,
            "weight": e.weight * (tokens.total() / tokens[e.task]),
            "stage": e.stage,
        }
        for e, prompt, target in zip(examples, prompts, targets, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=TRAINING)
