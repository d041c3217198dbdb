from __future__ import annotations

from pathlib import Path

import pytest

from kard_ray.execution import run_stages
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
