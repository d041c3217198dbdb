"""The questions that the report shows in full: with their passages, and what every student wrote.

Half of them are drawn by a hash of their ids; the other half are questions on which students disagree, which is where
differences can be seen. Texts are cut, so that a report has a bounded size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kard_ray.benchmarks.question import Question
from kard_ray.comparison.results import Answers
from kard_ray.comparison.rows import row_id

PASSAGE_CHARACTERS = 700
TEXT_CHARACTERS = 1500
_PASSAGES = 8  # of one answer that are shown

Texts = Callable[[Collection[str]], Mapping[str, Mapping[str, str]]]  # passage ids -> title and text


def choose_questions(answers: Sequence[Answers], count: int) -> list[str]:
    """Ids of at most ``count`` questions that all of ``answers`` have; the same ones for the same answers."""
    right: dict[str, list[bool]] = {}
    for found in answers:
        for name, correct in zip(
            found.predictions["question_id"].to_pylist(),
            found.predictions["correct"].to_pylist(),
            strict=True,
        ):
            right.setdefault(name, []).append(bool(correct))
    everywhere = [name for name, votes in right.items() if len(votes) == len(answers)]
    shuffled = sorted(everywhere, key=lambda name: hashlib.sha256(name.encode()).digest())
    drawn = shuffled[: -(-count // 2)]
    rest = shuffled[len(drawn) :]
    divided = [name for name in rest if 0 < sum(right[name]) < len(answers)]
    united = [name for name in rest if not 0 < sum(right[name]) < len(answers)]
    return drawn + (divided + united)[: count - len(drawn)]


def make_examples(
    answers: Sequence[Answers],
    questions: Mapping[str, Question],
    silver: Mapping[str, Sequence[str]],
    texts: Texts,
    *,
    count: int,
) -> list[dict[str, Any]]:
    """At most ``count`` questions with the answers of the first seed of each row.

    ``silver`` maps a question to the ids of its silver passages; ``texts`` gives the passages of a knowledge base, of
    which it may lack some.
    """
    first = {found.key: found for found in reversed(answers)}  # the first of each row stays
    rows = [first[key] for key in dict.fromkeys(found.key for found in answers)]
    chosen = choose_questions(rows, count)
    written = [
        (row_id(found.key), {line["question_id"]: line for line in found.predictions.to_pylist()})
        for found in rows
    ]
    shown = {
        passage
        for _, lines in written
        for name in chosen
        for passage in lines[name]["passage_ids"][:_PASSAGES]
    } | {passage for name in chosen for passage in questions[name].gold_passages}
    known = texts(shown)
    return [_example(questions[name], written, silver.get(name, ()), known) for name in chosen]


def _example(
    question: Question,
    written: Sequence[tuple[str, Mapping[str, Mapping[str, Any]]]],
    silver: Sequence[str],
    known: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    answers = [
        {
            "row": row,
            "correct": bool(lines[question.question_id]["correct"]),
            "answer": lines[question.question_id]["prediction_text"],
            "text": cut(lines[question.question_id]["generated_text"], TEXT_CHARACTERS),
            "passages": list(lines[question.question_id]["passage_ids"][:_PASSAGES]),
            "error": lines[question.question_id]["error"],
        }
        for row, lines in written
    ]
    wanted = {passage for answer in answers for passage in answer["passages"]} | {*question.gold_passages}
    return {
        "id": question.question_id,
        "kind": question.kind,
        "question": question.question,
        "options": list(question.options),
        "gold": question.answer_text,
        "gold_passages": list(question.gold_passages),
        "silver_passages": list(silver),
        "passages": {
            name: {"title": known[name]["title"], "text": cut(known[name]["text"], PASSAGE_CHARACTERS)}
            for name in sorted(wanted)
            if name in known
        },
        "answers": answers,
    }


def cut(text: str, characters: int) -> str:
    """``text``, its end left out when it is longer."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"
