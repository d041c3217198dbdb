from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kard_ray.benchmarks.question import Question
from kard_ray.pipeline import Pipeline
from kard_ray.recipe import load_recipe
from kard_ray.runtime.artifacts import Artifact, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.curriculum.shots import SHOTS
from kard_ray.student.methods.registry import METHODS
from tests.student.tables import compressed, rationales, silver


def pipeline(recipe_path: str, *overrides: str, folder: Path | None = None) -> Pipeline:
    run = RunDirectory(str(folder) if folder else f"memory://{uuid.uuid4().hex}")
    mine = Pipeline(load_recipe(recipe_path, overrides), run)
    (step,) = mine.steps(["benchmark"])
    step.make(step.artifact)
    return mine


def keep(artifact: Artifact, name: str, table: pa.Table) -> None:
    artifact.write_table(name, table)
    artifact.seal(rows={name.removesuffix(".parquet"): table.num_rows})


def with_teacher(mine: Pipeline) -> Pipeline:
    """The finished stages before a student's training, written by hand."""
    names = [q.question_id for q in mine.selected("train")]
    ids = [f"{name}#0" for name in names]
    keep(mine.rationales_artifact, "rationales.parquet", rationales({name: [True] for name in names}))
    keep(mine.silver_artifact, "silver.parquet", silver(ids))
    keep(mine.compression_artifact, "compressed.parquet", compressed(ids, stages=4))
    if mine.recipe.curriculum.examples:
        nearest = [{"question_id": name, "shots": [n for n in names if n != name][:3]} for name in names]
        keep(mine.examples_artifact, "examples.parquet", pa.Table.from_pylist(nearest, schema=SHOTS))
    return mine


def test_a_method_is_given_only_what_it_learns_from(recipe_path: str) -> None:
    mine = with_teacher(pipeline(recipe_path, "student.methods=[skintern]", "prediction.sources=[bm25]"))
    for name in ("std_cot", "kard", "skintern", "kard_intern"):
        made, inputs = METHODS[name], mine.training_inputs(name)
        assert len(inputs.questions) == 12
        assert (inputs.silver is not None) == (made.passages_from == "rationale")
        assert (
            (inputs.compressed is not None) == (inputs.shots is not None) == (made.curriculum == "symbolic")
        )
        assert len(inputs.fractions) == (0 if made.curriculum == "none" else 4)


def test_without_examples_none_are_looked_for(recipe_path: str) -> None:
    mine = with_teacher(pipeline(recipe_path, "student.methods=[skintern]", "curriculum.examples=0"))
    inputs = mine.training_inputs("skintern")
    assert inputs.shots is None
    assert inputs.compressed is not None


def test_a_benchmark_without_worked_examples_is_told_before_any_work(recipe_path: str) -> None:
    overrides = ("student.methods=[finetune, few_shot_cot]", "benchmark.examples=null")
    mine = Pipeline(load_recipe(recipe_path, overrides), RunDirectory("memory://none"))
    with pytest.raises(
        UserError, match=r"field benchmark\.examples: it is null, and method few_shot_cot shows"
    ):
        mine.steps()


def test_only_baselines_with_worked_examples_are_given_some(recipe_path: str) -> None:
    mine = pipeline(recipe_path)
    for name, method in METHODS.items():
        shots = mine.shots(name, mine.selected("test"))
        assert [len(found) for found in shots.values()] == ([1] if method.shots else [])


def test_worked_examples_are_those_of_each_questions_pattern(recipe_path: str) -> None:
    recipe = load_recipe(recipe_path, ["benchmark={kind: bbh, path: nowhere}"])
    tasks = ["navigate", "snarks", "dyck_languages"]
    asked = [Question(question_id=t, split="test", question="Which?", pattern=t) for t in tasks[:2] * 2]
    asked.append(Question(question_id="x", split="test", question="Which?", kind=tasks[2]))
    shots = Pipeline(recipe, RunDirectory("memory://shots")).shots("few_shot_cot", asked)
    assert set(shots) == set(tasks)
    assert all(1 <= len(found) <= METHODS["few_shot_cot"].shots for found in shots.values())
    assert len({found[0].question for found in shots.values()}) == len(shots)


# -- rerankers ---------------------------------------------------------------------------------------------------------

RERANKED = ("reranker={}", "prediction.sources=[bm25, reranker, silver]", "prediction.rounds=[1, 2]")


def test_every_search_is_predicted_with_every_number_of_rounds(recipe_path: str) -> None:
    mine = pipeline(recipe_path, *RERANKED)
    assert mine.sources("kard") == ["bm25", "bm25:2", "reranker", "reranker:2", "silver"]
    assert mine.sources("kard_intern") == ["none", "bm25", "bm25:2", "reranker", "reranker:2", "silver"]
    assert mine.sources("knowledge_finetune") == mine.sources("kard")  # so that only what was learned differs
    assert mine.sources("zero_shot_knowledge") == ["bm25", "bm25:2", "reranker", "reranker:2"]
    assert mine.sources("finetune") == ["none"]
    assert mine.sources("kard", new=True) == ["bm25"]
    only = pipeline(recipe_path, "prediction.sources=[silver]", "prediction.rounds=[2]")
    assert only.sources("kard") == ["silver"]
    assert only.sources("zero_shot_knowledge") == only.sources("kard", new=True) == ["bm25:2"]


def test_how_a_reranker_is_used_makes_other_predictions_and_no_other_reranker(recipe_path: str) -> None:
    def keys(*overrides: str) -> dict[str, str]:
        mine = pipeline(recipe_path, *RERANKED, *overrides)
        found = {"predict": mine.prediction_artifact("kard"), "reranker": mine.reranker_artifact}
        if mine.precomputes_vectors:
            found["vectors"] = mine.token_vectors_artifact
        return {name: artifact.spec.key for name, artifact in found.items()}

    plain = keys()
    depth = keys("reranker.depth=20")
    assert (depth["reranker"], depth["vectors"]) == (plain["reranker"], plain["vectors"])
    assert depth["predict"] != plain["predict"]
    weighed = keys("reranker.first_stage_weight=0.3")
    assert (weighed["reranker"], weighed["vectors"]) == (plain["reranker"], plain["vectors"])
    assert weighed["predict"] != plain["predict"]
    small = keys("reranker.vector_dtype=int8")
    assert small["reranker"] == plain["reranker"]
    assert small["vectors"] != plain["vectors"]
    assert small["predict"] != plain["predict"]
    assert keys("reranker.vector_dtype=null").keys() == {"predict", "reranker"}
    assert keys("reranker.loss=cross_entropy")["predict"] != plain["predict"]
    # Who reads nothing that was reranked does not depend on it.
    without = pipeline(recipe_path, "reranker={}")
    assert "reranker" not in without.prediction_artifact("kard").spec.inputs
    assert without.prediction_artifact("kard").spec == pipeline(recipe_path).prediction_artifact("kard").spec


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["prediction.sources=[reranker]"], r"field reranker: it is missing, and prediction\.sources"),
        (
            ["prediction.sources=[multivector]", "reranker={architecture: cross_encoder}"],
            "token vectors need reranker.architecture late_interaction .* got cross_encoder and float16",
        ),
        (
            ["prediction.sources=[multivector]", "reranker={vector_dtype: null}"],
            "token vectors need .* reranker.vector_dtype; got late_interaction and None",
        ),
    ],
)
def test_a_source_without_what_it_needs_is_told_before_any_work(
    recipe_path: str, overrides: list[str], sentence: str
) -> None:
    mine = Pipeline(load_recipe(recipe_path, overrides), RunDirectory("memory://none"))
    with pytest.raises(UserError, match=sentence):
        mine.steps()


def test_a_reranker_that_is_not_trained_is_told(recipe_path: str) -> None:
    with pytest.raises(UserError, match=r"artifact .*reranker/.* is not finished .*run its stage first"):
        pipeline(recipe_path, *RERANKED).trained_reranker()


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_skintern_is_trained_from_its_stages_alone(
    recipe_path: str, llama_folder: Path, tmp_path: Path, local_ray: None
) -> None:
    from kard_ray.student.train import train

    mine = with_teacher(
        pipeline(
            recipe_path,
            "student.methods=[skintern]",
            f"student.model={llama_folder}",
            "student.epochs=4",
            "student.batch_size=4",
            "student.precision=fp32",
            "student.tracking=[]",
            folder=tmp_path / "run",
        )
    )
    artifact = mine.student_artifact("skintern")
    assert set(artifact.spec.inputs) == {"benchmark", "rationales", "compression", "examples"}
    manifest = train("skintern", mine.training_inputs("skintern"), mine.recipe.student, "text", artifact)
    rows = pq.read_table(artifact.at("examples.parquet"))
    assert rows["stage"].to_pylist() == [stage for stage in (1, 2, 3, 4) for _ in range(12)]
    assert manifest.counts["steps"] == 4 * 3  # an epoch in each stage
    assert manifest.counts["cues"] == ["Explanation:"]
