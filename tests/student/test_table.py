from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from transformers import AutoTokenizer

from kard_ray.runtime.errors import UserError
from kard_ray.student.config import StudentConfig
from kard_ray.student.curriculum.schedule import ScheduleConfig, fractions
from kard_ray.student.curriculum.shots import SHOTS
from kard_ray.student.examples import TRAINING
from kard_ray.student.methods.registry import METHODS, MethodName
from kard_ray.student.table import TrainingInputs, training_table
from tests.student.tables import QUESTIONS, compressed, rationales, silver

RATIONALES = {"q0": [True, True], "q1": [False, True], "q2": [False], "q4": [True]}
IDS = ["q0#0", "q0#1", "q1#1", "q4#0"]
KEPT = fractions(ScheduleConfig())


def table(folder: Path, method: MethodName, *, kept: dict[str, list[bool]] | None = None) -> pa.Table:
    nearest = [{"question_id": q.question_id, "shots": ["q0", "q1", "q4"]} for q in QUESTIONS]
    inputs = TrainingInputs(
        questions=QUESTIONS,
        rationales=rationales(kept or RATIONALES),
        silver=silver(IDS),
        compressed=compressed(IDS, stages=len(KEPT)),
        shots=pa.Table.from_pylist(nearest, schema=SHOTS),
        fractions=KEPT,
    )
    config = StudentConfig(rationales=2)
    return training_table(method, inputs, config, "text", AutoTokenizer.from_pretrained(folder))


def decoded(folder: Path, ids: list[Any]) -> list[str]:
    return list(AutoTokenizer.from_pretrained(folder).batch_decode(ids))


def test_the_last_stage_of_skintern_is_the_table_of_reasoning_distillation(llama_folder: Path) -> None:
    rows = table(llama_folder, "skintern")
    assert rows.schema == TRAINING
    assert rows["stage"].to_pylist() == [stage for stage in (1, 2, 3, 4) for _ in IDS]
    last = rows.filter(pc.equal(rows["stage"], len(KEPT))).drop_columns(["stage"])
    assert last == table(llama_folder, "std_cot").drop_columns(["stage"])
    prompts = decoded(llama_folder, rows["prompt_ids"].to_pylist())
    assert "Learning summary: q0#" in prompts[0]
    assert [prompt.count("Question:") - 1 for prompt in prompts] == [3] * 4 + [2] * 4 + [1] * 4 + [0] * 4


def test_the_last_stage_of_kard_intern_is_reasoning_distillation_beside_kard(llama_folder: Path) -> None:
    rows = table(llama_folder, "kard_intern")
    last = rows.filter(pc.equal(rows["stage"], len(KEPT)))["prompt_ids"].to_pylist()
    assert last[::2] == table(llama_folder, "std_cot")["prompt_ids"].to_pylist()
    assert last[1::2] == table(llama_folder, "kard")["prompt_ids"].to_pylist()


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.trained])
def test_without_a_kept_rationale_there_is_nothing_to_learn(llama_folder: Path, method: MethodName) -> None:
    with pytest.raises(UserError, match="no training question has a kept rationale"):
        table(llama_folder, method, kept={"q0": [False]})
