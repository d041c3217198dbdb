"""Student training on Ray Train with tiny models: it learns, workers agree, and every kind of model is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, RunDirectory
from kard_ray.runtime.errors import UserError
from kard_ray.student.batching import collate, collate_source_target
from kard_ray.student.config import StudentConfig
from kard_ray.student.loss import target_loss
from kard_ray.student.question_passages import QUESTION_PASSAGES, find_question_passages
from kard_ray.student.table import TrainingInputs
from kard_ray.student.train import train
from tests.knowledge.rows import write_base
from tests.student.training_cases import ROWS, questions, rationales, student

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(600)]


def mean_loss(model: Any, artifact: Artifact, pad: int, counted: bool | None = None) -> float:
    """Nats per target token over all training rows, or over those whose weight is not 0, or is 0."""
    table = pq.read_table(artifact.at("examples.parquet"))
    if counted is not None:
        table = table.filter(pc.equal(pc.greater(table["weight"], 0), counted))
    rows = list(zip(table["prompt_ids"].to_pylist(), table["target_ids"].to_pylist(), strict=True))
    batch = (collate_source_target if model.config.is_encoder_decoder else collate)(rows, pad=pad)
    with torch.inference_mode():
        return float(target_loss(model.float().eval(), batch)) / sum(len(target) for _, target in rows)


@pytest.fixture(scope="module")
def one_worker(local_ray: None, llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return student(tmp_path_factory.mktemp("one"), llama_folder)[0]


def test_a_small_set_is_memorised_and_the_student_loads(llama_folder: Path, tmp_path: Path) -> None:
    artifact, manifest = student(
        tmp_path, llama_folder, epochs=120, learning_rate=5e-3, precision="bf16", micro_batch_tokens=500
    )
    before = mean_loss(AutoModelForCausalLM.from_pretrained(llama_folder), artifact, pad=2)
    written = AutoModelForCausalLM.from_pretrained(artifact.at("model"))
    assert before > 4
    assert written.dtype == torch.bfloat16
    assert mean_loss(written, artifact, pad=2) < 0.5
    assert manifest.counts["final_loss"] < 0.5
    assert manifest.counts["steps"] == 240
    assert manifest.rows == {"examples": ROWS}
    tokenizer = AutoTokenizer.from_pretrained(artifact.at("model"))
    # The loss of 240 bfloat16 steps leaves a word here or there: most rows come back whole, and each one stops.
    whole = 0
    for at, rationale in enumerate(rationales()["rationale"].to_pylist()):
        asked = tokenizer(f"Question: What is {at}?\nOptions: yes; no\nExplanation:", return_tensors="pt")
        answer = written.generate(**asked, max_new_tokens=40, do_sample=False)[0, asked.input_ids.shape[1] :]
        assert answer[-1] == tokenizer.eos_token_id
        whole += tokenizer.decode(answer, skip_special_tokens=True).strip() == rationale
    assert whole >= 6, whole


def test_the_manifest_knows_tokens_model_and_seed(one_worker: Artifact, llama_folder: Path) -> None:
    manifest = one_worker.verify()
    table = pq.read_table(one_worker.at("examples.parquet"))
    assert manifest.counts["questions"] == ROWS
    assert manifest.counts["steps"] == 4
    assert manifest.counts["prompt_tokens"] == sum(map(len, table["prompt_ids"].to_pylist()))
    assert manifest.counts["target_tokens"] == sum(map(len, table["target_ids"].to_pylist()))
    assert manifest.counts["resumed_at_step"] == 0
    assert manifest.counts["cues"] == ["Explanation:"]
    assert set(manifest.models) == {str(llama_folder)}
    assert manifest.seed == 42
    assert not [name for name in manifest.files if name.startswith("_parts")]


def test_two_workers_make_the_same_student_as_one(
    one_worker: Artifact, llama_folder: Path, tmp_path: Path
) -> None:
    two, _ = student(tmp_path, llama_folder, workers=2)
    expected = load_file(one_worker.at("model", "model.safetensors"))
    found = load_file(two.at("model", "model.safetensors"))
    start = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32).state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-4, rtol=0, msg=name)
    moved = max(float((weight - start[name]).abs().max()) for name, weight in expected.items())
    assert moved > 1e-3  # ten times the tolerance: the comparison above says something


@pytest.mark.parametrize("model", ["llama_folder", "t5_folder"])
def test_two_tasks_are_learnt_in_the_proportion_of_alpha(
    request: pytest.FixtureRequest, tmp_path: Path, model: str
) -> None:
    folder: Path = request.getfixturevalue(model)
    settings = {"epochs": 20, "learning_rate": 1e-2}
    losses = {}
    for alpha in (0.0, 1.0):
        artifact, manifest = student(tmp_path / str(alpha), folder, "step_by_step", alpha=alpha, **settings)
        assert manifest.counts["cues"] == ["Answer:"]
        assert manifest.rows == {"examples": 2 * ROWS}
        kind = AutoModelForCausalLM if model == "llama_folder" else AutoModelForSeq2SeqLM
        trained = kind.from_pretrained(artifact.at("model"))
        learnt = [alpha == 0.0, alpha == 1.0]
        losses[alpha] = [mean_loss(trained, artifact, pad=0, counted=counted) for counted in learnt]
    (rationale, no_answer), (no_rationale, answer) = losses[0.0], losses[1.0]
    assert rationale < no_rationale - 1
    assert answer < no_answer - 1


def test_two_workers_make_the_same_student_of_two_tasks_as_one(llama_folder: Path, tmp_path: Path) -> None:
    one, two = (
        student(tmp_path / str(workers), llama_folder, "mt_cot", workers=workers)[0] for workers in (1, 2)
    )
    expected = load_file(one.at("model", "model.safetensors"))
    found = load_file(two.at("model", "model.safetensors"))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-4, rtol=0, msg=name)


def test_a_student_is_trained_on_what_its_questions_find(llama_folder: Path, tmp_path: Path) -> None:
    passages = [(f"p{at}", f"Note {at}", f"Something about {at} is known.") for at in range(ROWS - 1)]
    write_base(tmp_path / "knowledge", [passages])
    stage = RunDirectory(str(tmp_path)).artifact(
        ArtifactSpec(stage="question_passages", version=1, config={})
    )
    searched = find_question_passages(
        questions(), str(tmp_path / "knowledge"), stage,
        k=1, with_options=False, retrieval=RetrievalConfig(), version=None,
    )  # fmt: skip
    assert searched.rows == {"question_passages": ROWS}
    assert searched.counts == {"queries_without_passage": 1}  # nothing is known about the last one
    found = stage.read_table("question_passages.parquet")
    assert found.schema == QUESTION_PASSAGES
    hits = {row["question_id"]: [p["passage_id"] for p in row["passages"]] for row in found.to_pylist()}
    assert hits == {f"q{at}": [f"p{at}"] if at < ROWS - 1 else [] for at in range(ROWS)}

    artifact, manifest = student(tmp_path, llama_folder, "knowledge_finetune", found=found)
    assert manifest.rows == {"examples": ROWS}
    table = pq.read_table(artifact.at("examples.parquet"))
    tokenizer = AutoTokenizer.from_pretrained(artifact.at("model"))
    for question_id, ids, target in zip(
        *(table[name].to_pylist() for name in ("question_id", "prompt_ids", "target_ids")), strict=True
    ):
        at = int(question_id[1:])
        shown = f"Knowledge:\nNote {at}: Something about {at} is known.\n" if at < ROWS - 1 else ""
        assert tokenizer.decode(ids) == f"{shown}Question: What is {at}?\nOptions: yes; no\nExplanation:"
        assert (
            tokenizer.decode(target, skip_special_tokens=True)
            == f" So the answer is {('yes', 'no')[at % 2]}."
        )


def test_a_lora_student_is_written_merged_and_as_an_adapter(llama_folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    artifact, manifest = student(tmp_path, llama_folder, lora_rank=4, epochs=30, learning_rate=1e-2)
    assert {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "model/model.safetensors",
        "model/tokenizer.json",
    } <= set(manifest.files)
    base = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    before = mean_loss(base, artifact, pad=2)
    merged = AutoModelForCausalLM.from_pretrained(artifact.at("model"))
    assert set(merged.state_dict()) == set(base.state_dict())
    after = mean_loss(merged, artifact, pad=2)
    assert after < before - 1
    adapted = PeftModel.from_pretrained(base, artifact.at("adapter"))
    assert mean_loss(adapted, artifact, pad=2) == pytest.approx(after, abs=1e-3)


def test_an_encoder_decoder_student_learns(t5_folder: Path, tmp_path: Path) -> None:
    artifact, _ = student(tmp_path, t5_folder, epochs=30, learning_rate=1e-2)
    before = mean_loss(AutoModelForSeq2SeqLM.from_pretrained(t5_folder), artifact, pad=0)
    after = mean_loss(AutoModelForSeq2SeqLM.from_pretrained(artifact.at("model")), artifact, pad=0)
    assert after < before - 1


def test_without_a_kept_rationale_training_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    artifact = RunDirectory(str(tmp_path)).artifact(ArtifactSpec(stage="train/std_cot", version=1, config={}))
    with pytest.raises(UserError, match="no training question has a kept rationale"):
        train(
            "std_cot",
            TrainingInputs(questions=questions(), rationales=rationales(kept=False)),
            StudentConfig(model=str(llama_folder)),
            "text",
            artifact,
        )
    assert not artifact.finished
