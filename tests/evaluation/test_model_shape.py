from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, BertConfig, LlamaConfig, MambaConfig

from kard_ray.evaluation.flops import encoder_flops, prefill_flops
from kard_ray.evaluation.model_shape import (
    _DECODERS,
    _ENCODERS,
    encoder_shape,
    model_shape,
    parameters_of_folder,
    shape_of_folder,
    shape_of_model,
)
from kard_ray.runtime.errors import UserError
from tests.evaluation.sizes import GROUPED, SIZES

OWN_NAMES: dict[str, dict[str, Any]] = {
    "gpt_neox": SIZES,
    "gpt2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "opt": {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 72}
    | {"word_embed_proj_dim": 32},
    "gpt_neo": {"vocab_size": 96, "hidden_size": 32, "num_layers": 2, "num_heads": 4}
    | {"attention_types": [[["global", "local"], 1]]},
    "bloom": {"vocab_size": 96, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "distilbert": {"vocab_size": 96, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 80},
}  # fmt: skip


def real_flops(model: Any, **options: Any) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(input_ids=torch.full((1, 9), 3), **options)
    rotary = [
        sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
        if name.rpartition(".")[2] == "rotary_emb"
    ]
    return counter.get_total_flops() - sum(rotary)


@pytest.mark.parametrize("kind", _DECODERS)
def test_every_architecture_that_is_read_counts_as_torch_does(kind: str) -> None:
    config = AutoConfig.for_model(kind, **OWN_NAMES.get(kind, GROUPED))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    assert prefill_flops(model_shape(config), 9) == real_flops(model, logits_to_keep=1)


@pytest.mark.parametrize("kind", _ENCODERS)
def test_every_encoder_that_is_read_counts_as_torch_does(kind: str) -> None:
    config = AutoConfig.for_model(kind, **OWN_NAMES.get(kind, SIZES))
    model = AutoModel.from_config(config, attn_implementation="eager")
    if hasattr(model, "pooler"):
        model.pooler = None  # sentence embeddings are means of token vectors
    assert encoder_flops(encoder_shape(config), 9) == real_flops(model)


def test_an_architecture_that_was_not_checked_has_no_count(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'mamba'.*cannot be counted.*llama"):
        model_shape(MambaConfig())
    with pytest.raises(UserError, match=r"'llama'.*cannot be counted.*bert"):
        encoder_shape(LlamaConfig())
    MambaConfig().save_pretrained(tmp_path)
    assert shape_of_folder(tmp_path) is None


def test_shape_and_parameters_are_read_from_a_folder(llama_folder: Path) -> None:
    shape = shape_of_folder(llama_folder)
    assert shape is not None
    assert shape == model_shape(AutoConfig.from_pretrained(llama_folder))
    assert shape_of_model(str(llama_folder)) == shape
    assert shape_of_model(str(llama_folder / "not there")) is None
    model = AutoModelForCausalLM.from_pretrained(llama_folder)
    assert parameters_of_folder(llama_folder) == model.num_parameters()


def test_a_folder_without_weights_is_a_sentence(tmp_path: Path) -> None:
    BertConfig(**SIZES).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"has no \*\.safetensors"):
        parameters_of_folder(tmp_path)


def test_a_student_of_fewer_layers_has_their_shape_and_parameters(llama_folder: Path) -> None:
    whole, one = (shape_of_model(str(llama_folder), layers) for layers in (None, 1))
    assert whole is not None
    assert one is not None
    assert (whole.decoder.layers, one.decoder.layers) == (2, 1)
    numbers = [parameters_of_folder(llama_folder, layers) for layers in (0, 1, 2, None)]
    assert numbers[2] == numbers[3]
    assert numbers[2] - numbers[1] == numbers[1] - numbers[0] > 0
