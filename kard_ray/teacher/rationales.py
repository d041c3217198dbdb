"""Teacher rationales at scale: asked for once, kept in the ledger, verified (KARD, section 3.1).

One row per sample. Nothing disappears: a rationale that a filter drops stays in the artifact with the filter's reason,
a question that cannot be asked and a request that failed stand in its failures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.artifacts import Artifact, Manifest
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.acceptance import question_problem
from kard_ray.teacher.backends.registry import load_backend
from kard_ray.teacher.backends.work import Backend, Item, Messages, Style
from kard_ray.teacher.config import TeacherConfig
from kard_ray.teacher.focus import focus
from kard_ray.teacher.generation import Generated, generate
from kard_ray.teacher.grounding import Passages
from kard_ray.teacher.prompt import PLAIN_STOP, teacher_messages
from kard_ray.teacher.structured import SCHEMA, as_text
from kard_ray.teacher.verification import GENERATION, RATIONALES, count, models_of, verify

VERSION = 3
TOKENS_PER_SECOND = "generated_tokens_per_second"  # count of the manifest: all engines, without their start

FAILURES = pa.schema(
    [
        pa.field("rationale_id", pa.string()),
        pa.field("question_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("sample", pa.int32()),
        pa.field("reason", pa.string()),
    ]
)

Examples = Callable[[str], Sequence[WorkedExample]]


class Asking:
    """The prompts of one run: which passages are shown, and the worked examples of each pattern, built once."""

    def __init__(
        self, config: TeacherConfig, form: AnswerForm, examples: Examples, passages: Passages
    ) -> None:
        self.config, self.form, self.examples, self.passages = config, form, examples, passages
        self.openings: dict[str, Messages] = {}

    def item(self, question: Question, samples: Sequence[int]) -> Item:
        """The request for ``samples`` of ``question``; its opening is in ``openings`` from then on."""
        facts = [
            self._cut(passage["text"], question.question, question.answer_text)
            for passage in self.passages.get(question.question_id, ())
        ]
        pattern = question.pattern or question.kind
        opening = f"{pattern}, with facts" if facts else pattern
        if opening not in self.openings:
            shown = [self._shown(example) for example in self.examples(pattern)]
            self.openings[opening] = self._messages(question, facts, shown)[:-1]
        turn = self._messages(question, facts, ())[-1]["content"]
        return Item(item_id=question.question_id, opening=opening, turn=turn, samples=tuple(samples))

    def _messages(
        self, question: Question, facts: Sequence[str], examples: Sequence[WorkedExample]
    ) -> list[dict[str, str]]:
        return teacher_messages(
            question=question.question,
            options=question.options,
            answer=question.answer,
            gold=question.gold,
            facts=facts,
            examples=examples,
            form=self.form,
            structured=self.config.structured,
        )

    def _shown(self, example: WorkedExample) -> WorkedExample:
        """A worked example whose passages are cut like those of the questions."""
        cut = tuple(self._cut(text, example.question, example.answer_text) for text in example.passages)
        return WorkedExample(
            question=example.question,
            options=example.options,
            answer=example.answer,
            gold=example.gold,
            passages=cut,
            rationale=example.rationale,
        )

    def _cut(self, text: str, question: str, answer: str) -> str:
        limit = self.config.focus_sentences
        return focus(text, question=question, answer=answer, limit=limit) if limit else text


def write_rationales(
    questions: Sequence[Question],
    examples: Examples,
    shown: Passages,
    supporting: Passages,
    config: TeacherConfig,
    form: AnswerForm,
    artifact: Artifact,
    ledger: Ledger,
    *,
    test_split: str,
) -> Manifest:
    """Have all rationales of ``questions`` written, verify them, and store them (schema RATIONALES).

    Questions of ``test_split`` get ``config.test_samples`` rationales, the others ``config.samples``. The teacher is
    shown the passages ``shown``; filters look at ``supporting``. Training questions left without a rationale are asked
    again, ``config.retry_empty`` times. Failed requests and questions that cannot be asked go to ``failures.parquet``.
    """
    asking = Asking(config, form, examples, shown)
    problems = {q.question_id: question_problem(q, config.max_question_characters) for q in questions}
    good = [q for q in questions if not problems[q.question_id]]
    # Questions of one pattern stand together: their prompts share a beginning, which the engine's cache holds.
    good.sort(key=lambda q: (q.pattern or q.kind, q.question_id))
    by_id = {q.question_id: q for q in good}
    wanted = {
        q.question_id: config.test_samples if q.split == test_split else config.samples for q in questions
    }
    failures = [
        _failure(q, sample, f"the question cannot be asked: {problems[q.question_id]}")
        for q in questions
        if problems[q.question_id]
        for sample in range(wanted[q.question_id])
    ]

    asked = [(q, range(wanted[q.question_id])) for q in good if wanted[q.question_id]]
    models = models_of(config.filters)
    written, verified = [], RATIONALES.empty_table()
    rate: float | None = None
    for round_ in range(config.retry_empty + 1):
        if round_:
            kept = _kept(verified)
            first = round_ * config.samples
            asked = [
                (q, range(first, first + config.samples))
                for q in good
                if q.split != test_split and q.question_id not in kept
            ]
            if not asked:
                break
        generated, used = _round(asking, asked, config, ledger, round_)
        models |= used
        rate = rate or generated.tokens_per_second
        written.append(_generation(generated.table, by_id, structured=config.structured))
        rows = pa.concat_tables(written)
        passed = rows.filter(pc.equal(rows["error"], ""))
        verified = verify(
            passed,
            by_id,
            supporting,
            config.filters,
            form,
            conclusion=config.conclusion,
            supporting=config.supporting_sentences,
        )
    rows = pa.concat_tables([GENERATION.empty_table(), *written])
    asked_for = len(failures) + rows.num_rows
    failed = rows.filter(pc.not_equal(rows["error"], "")).to_pylist()
    failures += [_failure(by_id[row["question_id"]], row["sample"], row["error"]) for row in failed]
    if verified.num_rows + len(failures) != asked_for:
        raise UserError(
            f"stage rationales: {asked_for} samples were asked for, and {verified.num_rows} rationales and "
            f"{len(failures)} failures came out; run the same command again: finished texts are kept."
        )
    kept = _kept(verified)
    without = [q for q in questions if wanted[q.question_id] and q.question_id not in kept]
    artifact.write_table("rationales.parquet", verified)
    artifact.write_table("failures.parquet", pa.Table.from_pylist(failures, schema=FAILURES))
    artifact.write_table(
        "questions_without_rationale.parquet",
        pa.table({"question_id": [q.question_id for q in without], "split": [q.split for q in without]}),
    )
    return artifact.seal(
        rows={"rationales": verified.num_rows, "failures": len(failures)},
        counts=count(verified)
        | {
            "failures": len(failures),
            "questions": sum(samples > 0 for samples in wanted.values()),
            "questions_with_rationale": len(kept),
            "questions_without_rationale": len(without),
            TOKENS_PER_SECOND: round(rate, 1) if rate else None,
        },
        models=models,
        seed=config.seed,
    )


def _kept(verified: pa.Table) -> set[str]:
    """Questions with a rationale that no filter dropped."""
    return set(verified.filter(verified["kept"])["question_id"].to_pylist())


def _round(
    asking: Asking,
    asked: Sequence[tuple[Question, Sequence[int]]],
    config: TeacherConfig,
    ledger: Ledger,
    round_: int,
) -> tuple[Generated, Mapping[str, str]]:
    """What was written for ``asked``, and the models that wrote it."""
    backend = teacher_of(config, max(len(samples) for _, samples in asked), round_)
    items = [asking.item(question, samples) for question, samples in asked]
    label = f"rationales, retry {round_}" if round_ else "rationales"
    return generate(items, asking.openings, backend, ledger, label=label), backend.models()


def teacher_of(config: TeacherConfig, samples: int, round_: int = 0) -> Backend:
    """The backend that writes rationales, ``samples`` of a question at once; a further round draws anew."""
    # A plain prompt would go on with the next example.
    stop = PLAIN_STOP if config.template == "plain" else ()
    changes: dict[str, Any] = {"stop": (*config.sampling.stop, *stop)}
    if round_ and config.retry_temperature is not None:
        changes["temperature"] = config.retry_temperature
    return load_backend(
        config,
        config.sampling.model_copy(update=changes),
        Style(template=config.template, schema=SCHEMA if config.structured else None),
        seed=config.seed + round_,
        samples=samples,
    )


def _generation(replies: pa.Table, questions: Mapping[str, Question], *, structured: bool) -> pa.Table:
    """REPLIES in, GENERATION out; ``structured``: the texts are JSON."""
    items, samples = replies["item_id"].to_pylist(), replies["sample"].to_pylist()
    columns = {
        "rationale_id": [f"{item}#{sample}" for item, sample in zip(items, samples, strict=True)],
        "question_id": items,
        "split": [questions[item].split for item in items],
    }
    if structured:
        texts = [as_text(text) for text in replies["generated_text"].to_pylist()]
        errors = replies["error"].to_pylist()
        columns["generated_text"] = [text or "" for text in texts]
        columns["error"] = [
            error or ("" if text else "the text is not the JSON that was asked for")
            for text, error in zip(texts, errors, strict=True)
        ]
    return pa.table(
        {
            name: columns.get(name, replies[name] if name in replies.column_names else None)
            for name in GENERATION.names
        },
        schema=GENERATION,
    )


def _failure(question: Question, sample: int, reason: str) -> dict[str, Any]:
    return {
        "rationale_id": f"{question.question_id}#{sample}",
        "question_id": question.question_id,
        "split": question.split,
        "sample": sample,
        "reason": reason,
    }
