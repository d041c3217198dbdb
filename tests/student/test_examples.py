from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from kard_ray.benchmarks.question import Question
from kard_ray.student.examples import (
    TRAINING,
    build_examples,
    evidence_by_question,
    passages_by_question,
    tokenize,
)
from kard_ray.student.methods.base import Evidence, Example
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.question_passages import QUESTION_PASSAGES
from kard_ray.student.rendering import Renderer, RenderingConfig
from kard_ray.teacher.rationales import RATIONALES
from kard_ray.teacher.silver import SILVER

QUESTIONS = [
    Question(question_id=f"q{n}", split="train", question=f"Which {n}?", options=("yes", "no"), answer=n % 2)
    for n in range(6)
]


def rationales(kept: dict[str, list[bool]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "rationale_id": f"{question}#{n}",
                "question_id": question,
                "split": "train",
                "sample": n,
                "rationale": f"because {question} {n}",
                "kept": keep,
                "dropped_by": "" if keep else "concludes",
                "dropped_because": "",
                "prompt_tokens": 1,
                "generated_tokens": 1,
            }
            for question, flags in kept.items()
            for n, keep in enumerate(flags)
        ],
        schema=RATIONALES,
    )


def silver(ids: list[str]) -> pa.Table:
    rows = [
        {
            "rationale_id": i,
            "question_id": i.partition("#")[0],
            "split": "train",
            "passages": [
                {"passage_id": f"p{r}", "title": i, "text": f"text {r}", "score": 1.0} for r in range(4)
            ],
        }
        for i in ids
    ]
    return pa.Table.from_pylist(rows, schema=SILVER)


ROWS = rationales({"q0": [True, True, True], "q1": [False, True], "q2": [False], "q4": [True]})


def test_only_kept_rationales_count_and_at_most_so_many_per_question() -> None:
    found = evidence_by_question(ROWS, None, per_question=2, seed=0)
    assert {question: len(items) for question, items in found.items()} == {"q0": 2, "q1": 1, "q4": 1}
    assert found["q1"][0].rationale == "because q1 1"
    assert found["q1"][0].silver == []


def test_the_choice_follows_the_seed_and_not_the_order_of_rows() -> None:
    first = evidence_by_question(ROWS, None, per_question=1, seed=7)
    turned = ROWS.take(list(reversed(range(ROWS.num_rows))))
    assert evidence_by_question(turned, None, per_question=1, seed=7) == first
    chosen = {evidence_by_question(ROWS, None, per_question=1, seed=s)["q0"][0].rationale for s in range(30)}
    assert len(chosen) == 3


def test_every_rationale_keeps_its_own_silver_passages() -> None:
    table = silver(["q0#0", "q0#1", "q0#2", "q1#1"])
    found = evidence_by_question(ROWS, table, per_question=3, seed=0)
    for item in found["q0"]:
        rationale_id = "q0#" + item.rationale[-1]
        assert item.silver == [(rationale_id, f"text {rank}") for rank in range(4)]
    assert found["q4"][0].silver == []  # nothing was retrieved for it


@pytest.mark.parametrize("method", list(METHODS))
def test_all_methods_are_given_the_same_questions(method: MethodName) -> None:
    evidence = evidence_by_question(ROWS, None, per_question=2, seed=0)
    rows = build_examples(QUESTIONS, evidence, METHODS[method], found={}, passages=2, form="text", alpha=0.3)
    assert list(dict.fromkeys(row.question.question_id for row in rows)) == ["q0", "q1", "q4"]


def test_every_question_is_given_what_it_found_itself() -> None:
    hits = [
        {"passage_id": f"p{rank}", "title": "T", "text": f"text {rank}", "score": 1.0} for rank in range(3)
    ]
    found = pa.Table.from_pylist(
        [{"question_id": "q1", "passages": hits}, {"question_id": "q4", "passages": []}],
        schema=QUESTION_PASSAGES,
    )
    evidence = evidence_by_question(ROWS, None, per_question=2, seed=0)
    rows = build_examples(
        QUESTIONS, evidence, METHODS["knowledge_finetune"], found=passages_by_question(found),
        passages=2, form="text", alpha=0.3,
    )  # fmt: skip
    shown = {row.question.question_id: list(row.passages) for row in rows}
    assert shown == {"q0": [], "q1": [("T", "text 0"), ("T", "text 1")], "q4": []}
    assert passages_by_question(None) == {}


def test_tokens_are_kept_by_question_and_every_row_ends_in_eos(llama_folder: Path) -> None:
    renderer = Renderer(AutoTokenizer.from_pretrained(llama_folder), RenderingConfig(), "text")
    evidence = {"q0": [Evidence(rationale="", silver=[]), Evidence(rationale="It is.", silver=[])]}
    rows = build_examples(QUESTIONS, evidence, METHODS["kard"], found={}, passages=2, form="text", alpha=0.3)
    table = tokenize(rows, renderer)
    assert table.schema == TRAINING
    assert table["question_id"].to_pylist() == ["q0", "q0"]
    assert [ids[-1] for ids in table["target_ids"].to_pylist()] == [renderer.tokenizer.eos_token_id] * 2
    assert tokenize([], renderer).schema == TRAINING


def test_a_row_keeps_its_cue_and_its_weight(llama_folder: Path) -> None:
    renderer = Renderer(AutoTokenizer.from_pretrained(llama_folder), RenderingConfig(), "text")
    rows = [
        Example(question=QUESTIONS[0], passages=(), target="yes"),
        Example(question=QUESTIONS[0], passages=(), target="yes", cue="Answer:", weight=0.3),
    ]
    table = tokenize(rows, renderer)
    assert table["weight"].to_pylist() == [1.0, 0.3]
    prompts = renderer.tokenizer.batch_decode(table["prompt_ids"].to_pylist())
    assert [prompt.rpartition("\n")[2] for prompt in prompts] == ["Explanation:", "Answer:"]
