"""The teacher as a real vLLM engine with a tiny random model: poisoned questions do not cost the good ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kard_ray.benchmarks.question import Question
from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory
from kard_ray.runtime.engine import EngineConfig, SamplingConfig
from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.config import TeacherConfig
from kard_ray.teacher.rationales import write_rationales

pytestmark = [pytest.mark.ray, pytest.mark.engine, pytest.mark.usefixtures("local_ray")]

GOOD = [
    Question(
        question_id=f"q{n:02}",
        split="train",
        question=f"Is {n} larger than {100 - n}?",
        options=("yes", "no"),
        answer=int(n <= 50),
        kind="compare",
    )
    for n in range(40)
]
BAD = {
    "empty": "",
    "long": "Is it? " * 8_000,  # 56,000 characters
    "tokens": "Is it larger? " * 300,  # few enough characters, too many tokens for the engine
    "half": "Is \udcff larger?",
    "control": "Is \x1b[2J larger?",
}


def test_every_good_row_comes_out_and_every_bad_one_is_a_failure_with_a_reason(
    llama_folder: Path, tmp_path: Path
) -> None:
    bad = [replace(GOOD[0], question_id=name, question=text) for name, text in BAD.items()]
    questions = [*GOOD[:7], *bad[:2], *GOOD[7:30], *bad[2:], *GOOD[30:]]
    config = TeacherConfig(
        model=str(llama_folder),
        samples=2,
        filters=(),
        template="plain",
        sampling=SamplingConfig(temperature=0.8, max_tokens=12),
        engine=EngineConfig(max_model_tokens=512, max_sequences=16, batch_rows=8, kv_cache_gib=1),
    )
    run = RunDirectory(str(tmp_path / "run"))

    def write(key: int, config: TeacherConfig) -> tuple[list[dict[str, Any]], dict[str, str]]:
        artifact = run.artifact(ArtifactSpec(stage="rationales", version=key, config={}))
        write_rationales(
            questions,
            lambda _: (),
            {},
            {},
            config,
            "text",
            artifact,
            Ledger(run.url("ledger")),
            test_split="test",
        )
        failed = artifact.read_table("failures.parquet").to_pylist()
        rows: list[dict[str, Any]] = artifact.read_table("rationales.parquet").to_pylist()
        return rows, {row["rationale_id"]: row["reason"] for row in failed}

    rows, reasons = write(1, config)
    assert sorted(row["rationale_id"] for row in rows) == [
        f"{q.question_id}#{s}" for q in GOOD for s in (0, 1)
    ]
    assert all(0 < row["generated_tokens"] <= 12 for row in rows)
    assert reasons.keys() == {f"{name}#{s}" for name in BAD for s in (0, 1)}
    for name, told in {
        "empty": "it is empty",
        "long": "56,005 characters",
        "tokens": "no room for 12 in teacher.engine.max_model_tokens (512)",
        "half": "half a character",
        "control": "control character U+001B",
    }.items():
        assert told in reasons[f"{name}#0"], reasons[f"{name}#0"]
