from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from kard_ray.benchmarks.question import Question
from kard_ray.runtime.errors import UserError
from kard_ray.student.config import StudentConfig
from kard_ray.student.examples import TRAINING
from kard_ray.student.held_out import answered, best_of, hold_out

QUESTIONS = [
    Question(
        question_id=f"q{at}", split="train", question=f"What is {at}?", options=("yes", "no"), answer=at % 2
    )
    for at in range(30)
]


@pytest.fixture(scope="module")
def tokenizer(llama_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(llama_folder)


def table(tokenizer: Any, targets: list[str], *, stages: int = 1) -> pa.Table:
    """A row per question, stage and text of ``targets``; "{}" is the gold option."""
    rows = []
    for q in QUESTIONS:
        for stage in range(1, stages + 1):
            for text in targets:
                target = tokenizer(text.format(q.options[q.answer]), add_special_tokens=False).input_ids
                ids = tokenizer(q.question).input_ids
                row = {"question_id": q.question_id, "prompt_ids": ids, "target_ids": [*target, 2]}
                rows.append(row | {"weight": 1.0, "stage": stage})
    return pa.Table.from_pylist(rows, schema=TRAINING)


def test_nothing_is_held_out_by_default(tokenizer: Any) -> None:
    rows = table(tokenizer, ["So the answer is {}."])
    assert hold_out(rows, QUESTIONS, StudentConfig(), "text", tokenizer) is None


@pytest.mark.parametrize("best", ["last", "loss", "accuracy"])
def test_no_question_is_on_both_sides_and_only_the_last_stage_is_looked_at(tokenizer: Any, best: Any) -> None:
    rows = table(tokenizer, ["So the answer is {}.", "Who knows."], stages=3)
    held = hold_out(rows, QUESTIONS, StudentConfig(held_out=0.3, best=best), "text", tokenizer)
    assert held is not None
    trained, looked_at = (set(t["question_id"].to_pylist()) for t in (held.training, held.rows))
    assert not trained & looked_at
    assert trained | looked_at == {q.question_id for q in QUESTIONS}
    assert held.training.num_rows == 6 * len(trained)
    assert set(held.rows["stage"].to_pylist()) == {3}
    assert held.rows.num_rows == len(looked_at) * (1 if best == "accuracy" else 2)
    if best == "accuracy":  # the row that writes the answer, and what it is judged by
        texts = [
            tokenizer.decode(ids, skip_special_tokens=True) for ids in held.rows["target_ids"].to_pylist()
        ]
        assert answered(texts, held.golds, "text") == len(looked_at)
        assert answered(["So the answer is perhaps."] * len(texts), held.golds, "text") == 0


def test_rows_without_an_answer_cannot_be_counted(tokenizer: Any) -> None:
    config = StudentConfig(held_out=0.3, best="accuracy")
    with pytest.raises(UserError, match=r"student\.best: got accuracy, but no held-out question"):
        hold_out(table(tokenizer, ["Who knows."]), QUESTIONS, config, "text", tokenizer)


@pytest.mark.parametrize(("share", "what"), [(1e-9, "none of them"), (1 - 1e-9, "all of them")])
def test_a_share_that_leaves_one_side_empty_is_refused(tokenizer: Any, share: float, what: str) -> None:
    rows = table(tokenizer, ["So the answer is {}."])
    with pytest.raises(UserError, match=f"of 30 training questions with a rationale holds out {what}"):
        hold_out(rows, QUESTIONS, StudentConfig(held_out=share), "text", tokenizer)


def test_the_first_of_equal_students_is_the_best() -> None:
    found = [{"step": 1, "value": 0.5}, {"step": 2, "value": 0.7}, {"step": 3, "value": 0.7}]
    assert best_of(found, "accuracy") == found[1]
    assert best_of(found, "loss") == found[0]
    assert best_of([], "loss") is None
