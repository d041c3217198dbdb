from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from kard_ray.runtime.errors import UserError
from kard_ray.student.config import StudentConfig
from kard_ray.student.loading import load_student


@pytest.fixture(scope="module")
def seven_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "seven"
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=7, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def load(folder: Path, layers: int | None) -> LlamaForCausalLM:
    model = load_student(str(folder), StudentConfig(layers=layers, precision="fp32"))
    assert isinstance(model, LlamaForCausalLM)
    return model


@pytest.mark.parametrize(
    ("layers", "kept"), [(1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]), (7, [*range(7)])]
)
def test_layers_are_left_evenly_from_the_first_to_the_last(
    seven_layers: Path, layers: int, kept: list[int]
) -> None:
    whole, pruned = load(seven_layers, None), load(seven_layers, layers)
    assert pruned.config.num_hidden_layers == len(pruned.model.layers) == layers
    for place, at in enumerate(kept):
        mine, original = pruned.model.layers[place].state_dict(), whole.model.layers[at].state_dict()
        assert all(torch.equal(mine[name], original[name]) for name in original)


def test_a_smaller_student_is_saved_and_decodes_with_a_cache_as_without(
    seven_layers: Path, tmp_path: Path
) -> None:
    load(seven_layers, 3).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[1, 5, 9, 13]])
    with torch.no_grad():
        begun = model(ids[:, :3], use_cache=True)
        cached = model(ids[:, 3:], past_key_values=begun.past_key_values).logits[0, -1]
        assert torch.allclose(cached, model(ids, use_cache=False).logits[0, -1], atol=1e-5)


def test_more_layers_than_the_model_has_and_models_without_a_stack_of_them_are_refused(
    seven_layers: Path, t5_folder: Path
) -> None:
    with pytest.raises(UserError, match=r"student\.layers: got 8, but the model has 7 layers"):
        load(seven_layers, 8)
    with pytest.raises(UserError, match=r"student\.layers: layers of T5\w+ cannot be left out"):
        load_student(str(t5_folder), StudentConfig(layers=1))


def test_an_adapter_has_no_smaller_base() -> None:
    with pytest.raises(ValidationError, match="set lora_rank to 0"):
        StudentConfig(layers=2, lora_rank=4)
