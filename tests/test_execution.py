from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from kard_ray.execution import command_line, run_stages
from kard_ray.pipeline import STAGES
from kard_ray.runtime.errors import UserError


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


def test_a_report_tells_its_command_as_a_shell_takes_it() -> None:
    override = "compare.students={a: {student.model: it's/here}}"
    assert shlex.split(command_line("compare", "my recipe.yaml", "runs/a", [override, "x=1"])) == [
        "kard-ray", "compare", "my recipe.yaml", "--run-dir", "runs/a", "--set", override, "--set", "x=1",
    ]  # fmt: skip
    assert command_line("sweep", "a.yaml", None, ()) == "kard-ray sweep a.yaml"
