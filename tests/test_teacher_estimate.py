"""What the teacher will cost, told from the recipe and what is on disk."""

from __future__ import annotations

from typing import Any

import pytest

from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import RunDirectory
from kard_ray.teacher.backends.work import reply_row
from kard_ray.teacher_estimate import estimate_rationales, print_teacher_estimate

ENDPOINT = (
    "teacher.backend={kind: endpoint, url: 'http://127.0.0.1:9/v1', prompt_price: 1.0, generated_price: 2.0}"
)
ALONE = ("teacher.samples=3", "teacher.test_samples=0", "teacher.sampling.max_tokens=50")


@pytest.fixture
def pipeline(recipe_path: str, tmp_path: Any) -> Pipeline:
    return Pipeline(load_recipe(recipe_path, [ENDPOINT, *ALONE]), RunDirectory(str(tmp_path / "run")))


def test_texts_tokens_and_requests_are_known_before_anything_ran(pipeline: Pipeline) -> None:
    found = estimate_rationales(pipeline)
    train = sum(q.split == "train" for q in found_questions(pipeline))
    assert found.cost.texts == found.cost.calls == 3 * train > 0
    assert found.cost.most_generated == 50 * found.cost.texts
    assert found.cost.prompt.tokens > 0
    assert not pipeline.run.fs.exists(pipeline.run.path)


def found_questions(pipeline: Pipeline) -> list[Any]:
    from kard_ray.benchmarks.registry import load_benchmark

    return list(load_benchmark(pipeline.recipe.questions_from()).questions())


def test_what_was_paid_for_is_taken_off_and_tells_how_long_texts_are(pipeline: Pipeline) -> None:
    whole = estimate_rationales(pipeline)
    keys = [key for found in whole.plan.keys for key in found][:2]
    writer = pipeline.ledger.writer()
    writer.append(
        [reply_row(key=key, item_id="q", sample=0, text="It is.", generated_tokens=20) for key in keys]
    )
    writer.close()
    rest = estimate_rationales(pipeline)
    assert (rest.cost.finished, rest.cost.texts) == (2, whole.cost.texts - 2)
    assert rest.cost.generated.tokens == 20 * rest.cost.texts
    assert "2 texts that it wrote" in rest.cost.generated.basis


def test_the_table_tells_the_price_of_an_endpoint(
    recipe_path: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    print_teacher_estimate(
        recipe_path, run_dir=str(tmp_path / "run"), overrides=[ENDPOINT, *ALONE], prompts=1
    )
    told = capsys.readouterr().out
    assert "as a plain prompt" in told
    assert "Answer:" in told
    assert "price" in told
    assert "at most" in told
    assert "tokens/s" not in told


def test_a_given_rate_tells_the_time_and_gpu_hours_of_engines(
    recipe_path: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = ["teacher.model=org/teacher", "teacher.engine.replicas=2", "teacher.engine.device=gpu"]
    print_teacher_estimate(
        recipe_path, run_dir=str(tmp_path / "run"), overrides=[*ALONE, *engines], tokens_per_second=100.0
    )
    told = capsys.readouterr().out
    assert "100 tokens/s, as given" in told
    assert "GPU hours" in told
    assert "2 GPUs" in told
