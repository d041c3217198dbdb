from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.estimate import estimate
from kard_ray.pipeline import STAGES, Pipeline, read_run_recipe
from kard_ray.recipe import Recipe, load_recipe
from kard_ray.runtime.artifacts import PARTS, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.methods.base import Method
from kard_ray.student.methods.registry import METHODS, MethodName
from tests.conftest import question_line


def steps_of(chosen: Callable[[Method], bool]) -> set[str]:
    """Training and prediction of the methods that are ``chosen``, and the report."""
    names = [name for name, method in METHODS.items() if chosen(method)]
    trained = [f"train/{name}" for name in names if METHODS[name].trained]
    return {*trained, *(f"predict/{name}" for name in names), "report"}


ALL_METHODS = f"student.methods=[{', '.join(METHODS)}]"
TRAINED = [name for name, method in METHODS.items() if method.trained]
PREDICTIONS = {f"predict/{method}" for method in METHODS}
STUDENTS = steps_of(lambda method: method.trained)
READERS = steps_of(lambda method: method.passages_from != "none")
CURRICULA = steps_of(lambda method: method.curriculum != "none")
CURRICULUM = ("symbolic", "compression", "examples")
RERANKER = ("candidates", "reranker")
# A recipe whose students use a reranker
RERANKED = ("reranker={}", "prediction.sources=[bm25, reranker, silver]")
SKINTERN = {"train/skintern", "predict/skintern", "report"}
# What is made from the teacher's replies, from the knowledge base, and from the questions.
OF_TEACHER = {"rationales", "symbolic", "compression", "silver", *STUDENTS}
OF_KNOWLEDGE = {*OF_TEACHER, "question_passages", *READERS}
OF_QUESTIONS = {*OF_KNOWLEDGE, "contamination", "examples", *PREDICTIONS}


def pipeline(recipe_path: str, *overrides: str, run: RunDirectory | None = None) -> Pipeline:
    recipe = load_recipe(recipe_path, [ALL_METHODS, *overrides])
    return Pipeline(recipe, run or RunDirectory(f"memory://{uuid.uuid4().hex}"))


def keys(recipe_path: str, *overrides: str) -> dict[str, str]:
    return {step.label: step.artifact.spec.key for step in pipeline(recipe_path, *overrides).steps()}


def changed(recipe_path: str, *overrides: str) -> set[str]:
    """Labels of the steps that other overrides would make anew."""
    before, after = keys(recipe_path), keys(recipe_path, *overrides)
    return {label for label in {*before, *after} if before.get(label) != after.get(label)}


# -- keys ----------------------------------------------------------------------------------------------------------


def test_the_steps_stand_in_order_and_every_stage_has_one(recipe_path: str) -> None:
    steps = pipeline(recipe_path, *RERANKED).steps()
    assert list(dict.fromkeys(step.stage for step in steps)) == list(STAGES)
    (asked_for,) = pipeline(recipe_path, "student.methods=[kard]").steps(["question_passages"])
    assert asked_for.needs_ray
    assert [step.label for step in steps if step.stage == "train"] == [f"train/{name}" for name in TRAINED]
    assert [step.label for step in pipeline(recipe_path).steps(["report", "silver"])] == ["silver", "report"]


@pytest.mark.parametrize(
    ("overrides", "missing"),
    [
        (["student.methods=[skintern]"], {"question_passages"}),
        (["student.methods=[skintern]", "curriculum.examples=0"], {"question_passages", "examples"}),
        (["student.methods=[std_cot]", "symbolic={}"], {"question_passages"}),
        (["student.methods=[kard_intern, mt_cot]"], {"question_passages", *CURRICULUM}),
        (["student.methods=[knowledge_finetune]"], {*CURRICULUM}),
        (
            ["student.methods=[zero_shot, few_shot_cot_knowledge]"],
            {"rationales", "silver", "question_passages", "train", *CURRICULUM},
        ),
    ],
)
def test_only_those_stages_run_that_a_method_needs_or_the_recipe_names(
    recipe_path: str, overrides: list[str], missing: set[str]
) -> None:
    found = [step.stage for step in pipeline(recipe_path, *overrides).steps()]
    of_reranker = {*RERANKER, "token_vectors"}
    assert {stage for stage in STAGES if stage not in found} == {*missing, *of_reranker}


def test_a_reranker_is_trained_only_where_an_answer_is_asked_for_with_it(recipe_path: str) -> None:
    def stages(*overrides: str) -> set[str]:
        return {step.stage for step in pipeline(recipe_path, *overrides).steps()}

    assert not {*RERANKER} & stages("reranker={}")
    assert {*RERANKER} <= stages(*RERANKED)
    # Its candidates come from rationales, also where no student is trained on them.
    assert {"rationales", *RERANKER} <= stages(*RERANKED, "student.methods=[zero_shot_knowledge]")
    (asked_for,) = pipeline(recipe_path, "reranker={}").steps(["reranker"])
    assert asked_for.label == "reranker"
    with pytest.raises(
        UserError, match=r"field reranker: it is missing.*'reranker: \{\}' takes the defaults"
    ):
        pipeline(recipe_path).steps(["reranker"])


@pytest.mark.parametrize(
    ("override", "labels"),
    [
        ("reranker.learning_rate=1e-5", {"reranker"}),
        ("reranker.by_question=5", {*RERANKER}),
        ("reranker.dev_fraction=0.3", {*RERANKER}),
        ("reranker.seed=7", {*RERANKER}),
        ("reranker.workers=2", set()),
        ("reranker.depth=50", set()),
        ("silver.passages=4", set()),
        ("silver.query=question_and_rationale", {*RERANKER}),
        ("teacher.samples=5", {*RERANKER}),
        ("retrieval.fusion_depth=7", {*RERANKER}),
    ],
)
def test_what_decides_a_reranker(recipe_path: str, override: str, labels: set[str]) -> None:
    def keys_with(*overrides: str) -> dict[str, str]:
        steps = pipeline(recipe_path, *RERANKED, *overrides).steps(RERANKER)
        return {step.label: step.artifact.spec.key for step in steps}

    before, after = keys_with(), keys_with(override)
    assert {label for label in before if before[label] != after[label]} == labels


def test_candidates_need_a_retriever_with_scores_and_say_so_before_any_work(recipe_path: str) -> None:
    with pytest.raises(UserError, match=r"field silver\.mode: got hybrid"):
        pipeline(recipe_path, *RERANKED, "silver.mode=hybrid").steps()


def test_symbolic_knowledge_that_nobody_asked_for_has_no_settings(recipe_path: str) -> None:
    mine = pipeline(recipe_path, "student.methods=[kard]")
    with pytest.raises(UserError, match="field symbolic: it is missing"):
        mine.steps(["symbolic"])


def test_skintern_with_examples_needs_an_embedder_and_says_so_before_any_work(recipe_path: str) -> None:
    without = ("student.methods=[skintern]", "knowledge.embedder=null")
    with pytest.raises(
        UserError, match=r"field knowledge\.embedder: it is null.*set curriculum\.examples to 0"
    ):
        pipeline(recipe_path, *without).steps()
    assert pipeline(recipe_path, *without, "curriculum.examples=0").steps()


def test_a_baseline_that_only_prompts_has_no_student(recipe_path: str) -> None:
    with pytest.raises(UserError, match=r"zero_shot only prompts recipe field student\.model"):
        pipeline(recipe_path).student_artifact("zero_shot")


def test_the_same_recipe_has_the_same_keys_in_any_run_directory(recipe_path: str) -> None:
    assert changed(recipe_path) == set()


def test_more_epochs_change_only_students_and_what_comes_after(recipe_path: str) -> None:
    assert changed(recipe_path, "student.epochs=7") == STUDENTS


@pytest.mark.parametrize(
    ("override", "labels"),
    [
        ("teacher.samples=5", OF_TEACHER),
        ("teacher.filters=[concludes, supported]", OF_TEACHER),
        ("teacher.sampling.temperature=0.1", OF_TEACHER),
        ("knowledge.analyzer.stem=false", {"knowledge", "contamination", *OF_KNOWLEDGE}),
        ("contamination.ngram=8", {"contamination"}),
        ("contamination.drop=true", {"contamination", "examples", *OF_KNOWLEDGE}),
        ("retrieval.version=build-1", {"contamination", *OF_KNOWLEDGE}),
        ("retrieval.bm25_engine=lancedb", {"silver", "question_passages", *READERS}),
        (
            "silver.passages=4",
            {
                "silver",
                "predict/knowledge_finetune",
                *steps_of(lambda method: method.passages_from == "rationale"),
            },
        ),
        ("student.passages=1", {"question_passages", *READERS}),
        ("student.rationales=1", steps_of(lambda method: method.uses_rationales)),
        ("student.stage_schedule=restart", CURRICULA),
        ("student.model=some/other", {*STUDENTS, *PREDICTIONS}),
        ("curriculum.schedule.stages=3", {"compression", *CURRICULA}),
        ("curriculum.examples=2", {"examples", *SKINTERN}),
        ("curriculum.examples=0", {"examples", *SKINTERN}),
        ("symbolic={retries: 5}", {"symbolic", "compression", *SKINTERN}),
        ("symbolic={}", set()),
        (
            "prediction.query=question",
            {"question_passages", "train/knowledge_finetune", *PREDICTIONS, "report"},
        ),
        (
            "prediction.sources=[silver, bm25]",
            {"report", *steps_of(lambda m: m.trained and m.passages_from != "none") & set(PREDICTIONS)},
        ),
        ("student.alpha=0.5", steps_of(lambda method: method.multi_task)),
        (
            "student.answer_weight=0.5",
            steps_of(lambda method: method.trained and method.reasons and not method.multi_task),
        ),
        (
            "student.found_share=0.5",
            steps_of(lambda method: method.trained and method.passages_from == "rationale"),
        ),
        ("prediction.sampling.max_tokens=9", {*PREDICTIONS, "report"}),
        ("benchmark.name=other", {"benchmark", *OF_QUESTIONS}),
        ("answer_form=letter", {*OF_TEACHER, *PREDICTIONS}),
    ],
)
def test_a_field_changes_its_stage_and_what_is_made_from_it(
    recipe_path: str, override: str, labels: set[str]
) -> None:
    assert changed(recipe_path, override) == labels


def test_what_options_are_scored_behind_is_part_of_answers_whose_options_are(recipe_path: str) -> None:
    scored = "prediction.answer=options"
    plain, behind = keys(recipe_path, scored), keys(recipe_path, scored, "prediction.options_behind=both")
    assert {label for label in plain if plain[label] != behind[label]} == {*PREDICTIONS, "report"}


def test_rationales_chosen_by_their_passages_make_students_depend_on_silver_ones(recipe_path: str) -> None:
    supported = "student.choose=supported"
    learners = steps_of(lambda method: method.trained and method.uses_rationales)
    assert changed(recipe_path, supported) == learners
    with_silver = keys(recipe_path, supported), keys(recipe_path, supported, "silver.mode=hybrid")
    other = {label for label in with_silver[0] if with_silver[0][label] != with_silver[1][label]}
    assert other == {"silver", "predict/knowledge_finetune", *learners}


@pytest.mark.parametrize(
    "override",
    [
        "student.micro_batch_tokens=100",
        "student.workers=2",
        "student.cpus_per_worker=2",
        "student.gpus_per_worker=1",
        "student.gradient_checkpointing=true",
        "student.checkpoint_seconds=1",
        "student.max_failures=0",
        "knowledge.workers=5",
        "knowledge.embedder_batch=8",
        "knowledge.gpus_per_worker=1",
        "teacher.engine.replicas=2",
        "teacher.engine.batch_rows=8",
        "teacher.engine.kv_cache_gib=9",
        "teacher.engine.max_sequences=2",
        "prediction.engine.device=cpu",
        "prediction.engine.batch_rows=8",
        "cluster.num_cpus=3",
        "cluster.dashboard=true",
        "name=another",
    ],
)
def test_what_says_only_how_fast_or_where_changes_nothing(recipe_path: str, override: str) -> None:
    assert changed(recipe_path, override) == set()


@pytest.mark.parametrize(
    "methods",
    [
        "[kard]",
        "[finetune]",
        "[knowledge_finetune, mt_cot]",
        "[finetune, std_cot]",
        "[kard, finetune, std_cot]",
    ],
)
def test_the_choice_of_methods_redoes_nothing_but_the_report(recipe_path: str, methods: str) -> None:
    before, after = keys(recipe_path), keys(recipe_path, f"student.methods={methods}")
    assert {label: before[label] for label in after if label != "report"} == {
        label: key for label, key in after.items() if label != "report"
    }


def test_a_changed_corpus_is_another_knowledge_base_and_everything_below(
    recipe_path: str, tmp_path: Path
) -> None:
    before = keys(recipe_path)
    (tmp_path / "corpus.jsonl").write_text('{"id": "p1", "text": "Another fact."}\n')
    after = keys(recipe_path)
    assert {label for label in before if before[label] != after[label]} == {
        "knowledge",
        "contamination",
        *OF_KNOWLEDGE,
    }


def test_a_moved_corpus_is_the_same_knowledge_base(recipe_path: str, tmp_path: Path) -> None:
    (tmp_path / "moved.jsonl").write_bytes((tmp_path / "corpus.jsonl").read_bytes())
    assert changed(recipe_path, f"knowledge.corpus.path={tmp_path}/moved.jsonl") == set()


def test_changed_questions_are_another_benchmark_and_everything_below(
    recipe_path: str, tmp_path: Path
) -> None:
    before = keys(recipe_path)
    (tmp_path / "test.jsonl").write_text(question_line(77, "test"))
    after = keys(recipe_path)
    assert {label for label in before if before[label] != after[label]} == {"benchmark", *OF_QUESTIONS}


def test_without_questions_there_is_a_knowledge_base_and_nothing_else(recipe_path: str) -> None:
    mine = pipeline(recipe_path, "benchmark=null", "reranker={}")
    assert [step.label for step in mine.steps(["knowledge"])] == ["knowledge"]
    for stage in STAGES:
        if stage != "knowledge":
            with pytest.raises(UserError, match="field benchmark: it is missing"):
                mine.steps([stage])


SOURCES = ("bm25", "vector", "hybrid", "silver")


@given(sources=st.lists(st.sampled_from(SOURCES), min_size=1, unique=True), tests=st.integers(0, 1))
@pytest.mark.parametrize("name", list(METHODS))
def test_a_student_is_tested_only_with_passages_that_its_kind_can_have(
    name: MethodName, sources: list[str], tests: int
) -> None:
    mine = factbook(prediction={"sources": sources}, teacher={"test_samples": tests})
    found, new = mine.sources(name), mine.sources(name, new=True)
    searched = [source for source in sources if source != "silver"] or ["bm25"]
    expected = {
        "none": ["none"],
        "question": sources if tests and METHODS[name].trained else searched,
        "rationale": sources if tests else searched,
    }[METHODS[name].passages_from]
    assert found == (["none"] if METHODS[name].alone_and_with_passages else []) + expected
    assert new == (["none"] if METHODS[name].passages_from == "none" else searched[:1])


# -- the run directory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_run_directory_belongs_to_one_recipe(recipe_path: str, tmp_path: Path, kind: str) -> None:
    run = RunDirectory(str(tmp_path / "run") if kind == "local" else f"memory://{uuid.uuid4().hex}/run")
    mine = pipeline(recipe_path, run=run)
    mine.claim()
    mine.claim()
    assert read_run_recipe(run) == mine.recipe
    later = pipeline(recipe_path, "student.epochs=9", run=run)
    later.claim()
    assert read_run_recipe(run).student.epochs == 9
    with pytest.raises(UserError, match=r"made by recipe 'tiny', not 'other'.*--run-dir"):
        pipeline(recipe_path, "name=other", run=run).claim()
    assert read_run_recipe(run) == later.recipe


def test_a_folder_that_is_no_run_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run directory"):
        read_run_recipe(RunDirectory(str(tmp_path)))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is no run directory"):
        read_run_recipe(RunDirectory(str(tmp_path / "file")))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"recipe": 5}', "null"])
def test_a_damaged_run_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        read_run_recipe(RunDirectory(str(tmp_path)))


# -- making the benchmark, which needs neither Ray nor models --------------------------------------------------------


def made(recipe_path: str, *overrides: str, run: RunDirectory | None = None) -> Pipeline:
    mine = pipeline(recipe_path, *overrides, run=run)
    (step,) = mine.steps(["benchmark"])
    assert not step.needs_ray
    step.make(step.artifact)
    return mine


def test_a_made_step_is_finished_and_the_others_say_why_not(recipe_path: str) -> None:
    mine = made(recipe_path)
    states = {step.label: mine.state(step) for step in mine.steps()}
    assert states.pop("benchmark") == "finished"
    assert set(states.values()) == {"not made yet"}
    mine.rationales_artifact.write_text(f"{PARTS}/x.parquet", "x")
    (step,) = mine.steps(["rationales"])
    assert mine.state(step).startswith("unfinished")


def test_the_changed_field_is_named(recipe_path: str) -> None:
    run = RunDirectory(f"memory://{uuid.uuid4().hex}")
    made(recipe_path, run=run)
    later = pipeline(recipe_path, "benchmark.name=other", run=run)
    (step,) = later.steps(["benchmark"])
    assert later.state(step) == 'changed: name: "jsonl" -> "other"'


def test_a_truncated_artifact_is_told_and_never_read(recipe_path: str) -> None:
    mine = made(recipe_path)
    mine.run.fs.rm(mine.benchmark_artifact.at("questions.parquet"))
    with pytest.raises(UserError, match=r"questions\.parquet is missing"):
        mine.steps(["benchmark"])[0].finished  # noqa: B018 - the property looks at the files
    with pytest.raises(UserError, match=r"questions\.parquet is missing"):
        mine.selected("train")


def test_questions_are_chosen_by_their_ids_so_that_more_begin_with_fewer(recipe_path: str) -> None:
    few = made(recipe_path, "questions.train=4").selected("train")
    some = made(recipe_path, "questions.train=9").selected("train")
    everything = made(recipe_path).selected("train")
    assert (len(few), len(some), len(everything)) == (4, 9, 12)
    assert everything[:4] == few
    assert everything[:9] == some
    assert {q.split for q in everything} == {"train"}


def test_a_split_without_questions_is_told(recipe_path: str) -> None:
    with pytest.raises(UserError, match="the dev split has no questions"):
        made(recipe_path).selected("dev")


# -- estimates -----------------------------------------------------------------------------------------------------


def estimates(mine: Pipeline) -> dict[str, Any]:
    return {step.label: estimate(step.label, mine) for step in mine.steps()}


def factbook(**changes: Any) -> Pipeline:
    changes["student"] = {"methods": list(METHODS)} | changes.get("student", {})
    tree = {"name": "x", "benchmark": {"kind": "factbook"}, "knowledge": {"corpus": {"kind": "factbook"}}}
    return Pipeline(Recipe.model_validate(tree | changes), RunDirectory(f"memory://{uuid.uuid4().hex}"))


def test_rows_are_estimated_from_the_recipe_alone() -> None:
    found = estimates(
        factbook(
            questions={"train": 100, "test": 50},
            teacher={"samples": 3},
            student={"rationales": 2, "epochs": 2},
        )
    )
    assert found["benchmark"].rows == 4000 + 500 + 500
    assert found["rationales"].rows == 3 * 100 + 50
    assert found["silver"].rows == 3 * 100 + 50
    assert found["question_passages"].rows == 100
    assert found["train/finetune"].rows == found["train/knowledge_finetune"].rows == 100
    assert found["train/std_cot"].rows == found["train/kard"].rows == 200
    assert found["train/mt_cot"].rows == found["train/step_by_step"].rows == 400
    assert found["predict/finetune"].rows == found["predict/mt_cot"].rows == 50
    assert found["predict/kard"].rows == found["predict/knowledge_finetune"].rows == 100
    # What the question finds; it has no silver passages
    assert found["predict/zero_shot_knowledge"].rows == 50
    assert found["predict/step_by_step"].tokens == found["predict/finetune"].tokens
    assert found["predict/std_cot"].tokens > found["predict/mt_cot"].tokens
    assert found["train/kard"].tokens > found["train/std_cot"].tokens > found["train/finetune"].tokens
    assert found["train/knowledge_finetune"].tokens > found["train/finetune"].tokens
    assert found["symbolic"].rows == 2 * 100
    assert found["compression"].rows == 4 * 2 * 100
    assert found["train/skintern"].rows == 4 * 200
    assert found["train/kard_intern"].rows == 5 * 200
    assert found["predict/kard_intern"].rows == 3 * 50
    # No more rows are read than of std_cot; they are longer.
    assert 1 < found["train/skintern"].tokens / found["train/std_cot"].tokens < 8
    assert (
        found["predict/cascod"].tokens == found["predict/std_cot"].tokens + found["predict/finetune"].tokens
    )
    assert found["predict/zero_shot"].tokens < found["predict/few_shot_cot"].tokens


def test_a_rerankers_rows_are_the_rationales_and_its_tokens_those_of_its_candidates() -> None:
    changes: dict[str, Any] = {
        "questions": {"train": 100, "test": 50},
        "teacher": {"samples": 3},
        "prediction": {"sources": ["bm25", "reranker"]},
    }
    found = estimates(factbook(**changes, reranker={"epochs": 2, "candidates_per_step": 4}))
    assert found["candidates"].rows == found["reranker"].rows == 300
    more = estimates(factbook(**changes, reranker={"epochs": 4, "candidates_per_step": 8}))
    assert 3.5 < more["reranker"].tokens / found["reranker"].tokens <= 4
    assert found["reranker"].seconds > 0
    other = estimates(factbook(**changes, reranker={"model": "some/other"}))
    assert other["reranker"].seconds is None


def test_without_test_rationales_nothing_silver_is_predicted() -> None:
    found = estimates(
        factbook(questions={"train": 100, "test": 50}, teacher={"samples": 1, "test_samples": 0})
    )
    assert found["rationales"].rows == found["silver"].rows == 100
    assert found["predict/kard"].rows == 50
    found = estimates(factbook(questions={"train": 100, "test": 50}, prediction={"sources": ["bm25"]}))
    assert found["rationales"].rows == 200
    assert found["predict/kard"].rows == 50


def test_more_questions_than_the_benchmark_has_are_not_counted(recipe_path: str) -> None:
    mine = made(recipe_path, "questions.train=1000", "questions.test=3")
    assert estimates(mine)["train/finetune"].rows == 12
    assert estimates(mine)["predict/finetune"].rows == 3
    unknown = estimates(pipeline(recipe_path))
    assert unknown["train/finetune"].rows is None
    assert unknown["train/finetune"].seconds is None


def test_time_is_told_only_where_a_rate_was_measured() -> None:
    assert all(estimates(factbook())[f"train/{method}"].seconds > 0 for method in TRAINED)
    other = estimates(factbook(student={"model": "some/other"}, teacher={"model": "some/other"}))
    assert {found.seconds for found in other.values()} == {None}
    assert other["train/kard"].tokens > 0
    for changed in ({"gpus_per_worker": 1}, {"layers": 12}):
        assert estimates(factbook(student=changed))["train/kard"].seconds is None


def test_a_recorded_teacher_writes_nothing() -> None:
    recorded = {"backend": {"kind": "recorded", "path": "rationales.jsonl"}, "samples": 20}
    found = estimates(factbook(teacher=recorded))["rationales"]
    assert (found.tokens, found.seconds) == (None, None)
    assert found.rows > 0


def test_the_estimate_grows_with_the_work() -> None:
    one, two = (estimates(factbook(student={"epochs": epochs}))["train/kard"] for epochs in (1, 2))
    assert two.tokens == 2 * one.tokens
    assert two.seconds > one.seconds
