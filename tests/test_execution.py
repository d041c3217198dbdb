from __future__ import annotations

import json
from pathlib import Path

import pytest

from kard_ray.execution import run_stages
from kard_ray.pipeline import STAGES
from kard_ray.runtime.errors import UserError


@pytest.fixture
def recipe_path(tmp_path: Path) -> str:
    for split in ("train", "test"):
        row = {"id": split, "question": "Which?", "options": ["a", "b"], "answer": 1}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row))
    (tmp_path / "corpus.jsonl").write_text('{"id": "p1", "text": "A fact."}\n')
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""
        benchmark: {{kind: jsonl, train: {tmp_path}/train.jsonl, test: {tmp_path}/test.jsonl}}
        knowledge: {{corpus: {{kind: jsonl, path: {tmp_path}/corpus.jsonl}}}}
        """
    )
    return str(path)


@pytest.mark.parametrize("field", ["knowledge.embedder", "teacher.model", "student.model"])
def test_a_missing_model_is_told_before_the_first_stage(recipe_path: str, tmp_path: Path, field: str) -> None:
    with pytest.raises(UserError, match=rf"^recipe field {field}: .*bundled:none") as caught:
        run_stages(recipe_path, STAGES, run_dir=str(tmp_path / "run"), overrides=[f"{field}=bundled:none"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "benchmark").exists()


def test_a_stage_does_not_ask_for_models_that_it_does_not_use(recipe_path: str, tmp_path: Path) -> None:
    overrides = ["teacher.model=bundled:none", "student.model=bundled:none"]
    run_stages(recipe_path, ["benchmark"], run_dir=str(tmp_path / "run"), overrides=overrides)
    assert (tmp_path / "run" / "benchmark").exists()
