from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from kard_ray.runtime.errors import UserError
from kard_ray.student.checks import check_requirements, check_rows
from kard_ray.student.config import StudentConfig
from kard_ray.student.examples import TRAINING
from kard_ray.student.rendering import Renderer, RenderingConfig


def table(prompt: list[int], target: list[int]) -> pa.Table:
    row = {"question_id": "q7", "prompt_ids": prompt, "target_ids": target, "weight": 1.0, "stage": 1}
    return pa.Table.from_pylist([row], schema=TRAINING)


@pytest.fixture
def plain(llama_folder: Path) -> Any:
    """Writes no BOS; EOS is 2."""
    return AutoTokenizer.from_pretrained(llama_folder)


@pytest.fixture
def with_bos(plain: Any) -> Any:
    """The same tokenizer, which begins every text with BOS (1), as Llama's does."""
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    assert plain("a").input_ids[0] == 1
    return plain


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_rendered_rows_pass(plain: Any, template: Any) -> None:
    renderer = Renderer(plain, RenderingConfig(template=template), "text")
    check_rows(table(renderer.prompt_ids("Why?", ["a"], []), renderer.target_ids("Because.")), plain)


def test_rendered_rows_of_a_tokenizer_with_bos_pass(with_bos: Any) -> None:
    renderer = Renderer(with_bos, RenderingConfig(), "text")
    check_rows(table(renderer.prompt_ids("Why?", ["a"], []), renderer.target_ids("Because.")), with_bos)


@pytest.mark.parametrize(
    ("prompt", "target", "fault"),
    [
        ([5], [], "0 EOS"),
        ([5], [6], "0 EOS"),
        ([5], [2, 6], "1 EOS tokens, expected one, at the end"),
        ([5], [2, 6, 2], "2 EOS"),
        ([], [2], "prompt is empty"),
    ],
)
def test_a_row_without_prompt_label_or_one_eos_is_refused(
    plain: Any, prompt: list[int], target: list[int], fault: str
) -> None:
    with pytest.raises(UserError, match=f"question q7: .*{fault}"):
        check_rows(table(prompt, target), plain)


@pytest.mark.parametrize(
    ("prompt", "target", "fault"),
    [
        ([5], [2], "0 BOS"),
        ([1, 1, 5], [2], "2 BOS"),
        ([5, 1], [2], "1 BOS"),
        ([1, 5], [1, 2], "target has a BOS"),
    ],
)
def test_a_row_with_another_number_of_bos_than_one_is_refused(
    with_bos: Any, prompt: list[int], target: list[int], fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        check_rows(table(prompt, target), with_bos)


def test_four_bits_without_a_gpu_are_refused_in_a_sentence() -> None:
    config = StudentConfig(quantization="nf4", lora_rank=8)
    with pytest.raises(UserError, match=r"student\.quantization: got nf4, which needs a GPU"):
        check_requirements(config, run_is_local=True)


def test_four_bits_without_their_package_are_refused_in_a_sentence() -> None:
    config = StudentConfig(quantization="nf4", lora_rank=8, gpus_per_worker=1)
    with pytest.raises(UserError, match="needs the package bitsandbytes"):
        check_requirements(config, run_is_local=True)


def test_mlflow_needs_an_address_when_the_run_is_remote() -> None:
    with pytest.raises(UserError, match=r"student\.mlflow_uri: it is missing"):
        check_requirements(StudentConfig(tracking=("mlflow",)), run_is_local=False)


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = "importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None if name == "mlflow" else object())
    with pytest.raises(
        UserError, match=r"got mlflow, which needs mlflow; run 'pip install kard-ray\[tracking\]'"
    ):
        check_requirements(StudentConfig(tracking=("mlflow",)), run_is_local=True)
    check_requirements(StudentConfig(), run_is_local=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"best": "loss"}, "held_out is 0"),
        ({"quantization": "nf4"}, "lora_rank is 0"),
        ({"quantization": "nf4", "lora_rank": 4, "sharding": "fsdp"}, "cannot be divided"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        StudentConfig(**settings)


def test_what_only_counts_with_held_out_questions_decides_nothing_without_them() -> None:
    assert StudentConfig(evaluations=9).content() == StudentConfig().content()
    assert StudentConfig(evaluations=9, held_out=0.1).content() != StudentConfig(held_out=0.1).content()


@pytest.mark.parametrize("field", ["packing", "sharding", "tracking", "mlflow_uri"])
def test_how_a_training_is_run_and_shown_is_no_part_of_its_content(field: str) -> None:
    assert field not in StudentConfig().content()
