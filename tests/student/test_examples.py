from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from transformers import AutoTokenizer

from kard_ray.student.curriculum.shots import SHOTS
from kard_ray.student.examples import (
    TRAINING,
    build_examples,
    evidence_by_question,
    help_by_rationale,
    passages_by_question,
    shots_by_question,
    tokenize,
)
from kard_ray.student.methods.base import Evidence, Example, Help, Shot
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.question_passages import QUESTION_PASSAGES
from kard_ray.student.rendering import Renderer, RenderingConfig
from tests.student.tables import QUESTIONS, compressed, rationales, silver

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


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.trained])
def test_all_methods_are_given_the_same_questions(method: MethodName) -> None:
    evidence = evidence_by_question(ROWS, None, per_question=2, seed=0)
    rows = build_examples(
        QUESTIONS,
        evidence,
        METHODS[method],
        found={},
        passages=2,
        form="text",
        alpha=0.3,
        fractions=(1.0, 0.0),
    )
    assert list(dict.fromkeys(row.question.question_id for row in rows)) == ["q0", "q1", "q4"]
    assert [row.stage for row in rows] == sorted(row.stage for row in rows)


@pytest.mark.parametrize("method", ["skintern", "kard_intern"])
def test_a_curriculum_without_its_stages_is_refused(method: MethodName) -> None:
    with pytest.raises(ValueError, match=f"{method} has a curriculum"):
        build_examples(QUESTIONS, {}, METHODS[method], found={}, passages=2, form="text", alpha=0.3)


def test_rationales_with_symbolic_knowledge_are_chosen_first_and_keep_their_own() -> None:
    knowledge = help_by_rationale(compressed(["q0#2", "q1#0"]))  # q1#0 was dropped by a filter
    assert list(knowledge["q0#2"]) == [Help(summary="q0#2 at 1"), Help(summary="q0#2 at 2"), Help()]
    for seed in range(9):
        found = evidence_by_question(ROWS, None, knowledge, per_question=2, seed=seed)
        assert found["q0"][0].rationale == "because q0 2"
        assert [bool(item.help) for item in found["q0"]] == [True, False]
        assert [(item.rationale, list(item.help)) for item in found["q1"]] == [("because q1 1", [])]
    assert help_by_rationale(None) == {}


def test_an_example_is_another_question_with_the_first_of_its_rationales() -> None:
    evidence = evidence_by_question(ROWS, None, per_question=2, seed=0)
    nearest = pa.Table.from_pylist(
        [{"question_id": "q0", "shots": ["q4", "q3", "q1"]}, {"question_id": "q1", "shots": []}], schema=SHOTS
    )
    chosen = [q for q in QUESTIONS if q.question_id in evidence]
    shots = shots_by_question(nearest, chosen, evidence)
    assert shots == {  # q3 has no kept rationale
        "q0": [
            Shot(question="Which 4?", options=("yes", "no"), written="Explanation: because q4 0"),
            Shot(question="Which 1?", options=("yes", "no"), written="Explanation: because q1 1"),
        ],
        "q1": [],
    }
    assert shots_by_question(None, chosen, evidence) == {}


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
    assert table["weight"].to_pylist() == [1.0, 0.3]  # one task: the weights as they are
    assert table["stage"].to_pylist() == [1, 1]
    prompts = renderer.tokenizer.batch_decode(table["prompt_ids"].to_pylist())
    assert [prompt.rpartition("\n")[2] for prompt in prompts] == ["Explanation:", "Answer:"]


@pytest.mark.parametrize("alpha", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("lengths", [[1], [60, 3, 17], [9, 9]])
def test_two_tasks_share_the_loss_by_alpha_however_long_their_targets_are(
    llama_folder: Path, alpha: float, lengths: list[int]
) -> None:
    renderer = Renderer(AutoTokenizer.from_pretrained(llama_folder), RenderingConfig(), "text")
    question = QUESTIONS[0]
    rows = [
        Example(question=question, passages=(), target="word " * length, weight=1 - alpha)
        for length in lengths
    ]
    rows += [
        Example(question=question, passages=(), target="yes", weight=alpha, task="answer") for _ in lengths
    ]
    table = tokenize(rows, renderer)
    tokens = pc.list_value_length(table["target_ids"]).to_numpy()
    # A loss of 1 for each token of the rationales and of 0 for the answers', meaned as the training step does.
    share = (table["weight"].to_numpy() * tokens)[: len(lengths)].sum() / tokens.sum()
    assert share == pytest.approx(1 - alpha)
