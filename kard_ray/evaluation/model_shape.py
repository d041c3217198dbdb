"""The sizes of a transformer that its FLOPs follow from, read from its configuration.

Only architectures whose count was checked against a profiler are read; for another one there is no number rather than
a guessed one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import ModelRef, ModelStatus, check_model, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# model_type of decoder-only models: does the MLP have a gate (three matrices instead of two)?
_DECODERS = {
    "llama": True, "mistral": True, "qwen2": True, "qwen3": True, "gemma": True, "gemma2": True,
    "gemma3_text": True, "phi3": True, "olmo": True, "olmo2": True, "smollm3": True, "granite": True,
    "stablelm": True, "gpt2": False, "opt": False, "gpt_neo": False, "gpt_neox": False, "phi": False,
    "starcoder2": False, "bloom": False,
}  # fmt: skip
_LAYER = re.compile(r"\.(?:layers|h)\.(\d+)\.")  # in a tensor's name
_ENCODER_DECODERS = ("t5", "mt5", "umt5")
_ENCODERS = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """Equal transformer layers: self-attention and MLP, and attention to an encoder if ``cross``."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int  # fewer than ``heads``: grouped-query attention
    head_size: int
    inner: int  # width of the MLP
    gated: bool  # the MLP has three matrices instead of two
    cross: bool = False

    @property
    def self_weights(self) -> int:
        """Numbers in one layer's matrices that each token passes, those of attention to the encoder left out."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)
        return attention + (3 if self.gated else 2) * self.hidden * self.inner

    @property
    def cross_weights(self) -> int:
        """Numbers in the query and output matrices of attention to the encoder; key and value have as many."""
        return 2 * self.hidden * self.head_size * self.heads if self.cross else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """A generating model: a decoder, for T5 an encoder before it, and the output layer.

    ``output_width`` is the width of what the output layer reads; where it is not the decoder's (OPT-350M), embeddings
    are projected to ``decoder.hidden`` and back. ``vocabulary`` counts the rows of the output layer, tied or not.
    """

    decoder: Stack
    encoder: Stack | None = None
    vocabulary: int
    output_width: int

    @property
    def projection_weights(self) -> int:
        """Numbers in the matrices between embeddings and decoder that each token passes; 0 for most models."""
        return (
            0
            if self.output_width == self.decoder.hidden
            else 2 * self.output_width * self.decoder.hidden
        )  # fmt: skip

    @property
    def output_weights(self) -> int:
        """Numbers in the output layer's matrix, which passes a token only where one is predicted."""
        return self.output_width * self.vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderShape:
    """A BERT-like encoder: an embedder of queries, or the reranker's.

    ``head_weights`` are the numbers in what each token passes behind the layers, such as ColBERT's projection.
    """

    stack: Stack
    head_weights: int = 0


def model_shape(config: PreTrainedConfig) -> ModelShape:
    """The shape of a generating model; raises UserError for an architecture whose FLOPs are not known here."""
    kind = config.model_type
    if kind in _ENCODER_DECODERS:
        return _encoder_decoder(config)
    if kind not in _DECODERS:
        known = ", ".join((*_DECODERS, *_ENCODER_DECODERS))
        raise UserError(f"model type {kind!r}: its FLOPs cannot be counted; counted are {known}.")
    return ModelShape(
        decoder=_stack(config, gated=_DECODERS[kind]),
        vocabulary=config.vocab_size,
        output_width=getattr(config, "word_embed_proj_dim", None) or config.hidden_size,
    )


def encoder_shape(config: PreTrainedConfig, *, head_weights: int = 0) -> EncoderShape:
    """The shape of a BERT-like encoder; raises UserError for an architecture whose FLOPs are not known here."""
    kind = config.model_type
    if kind not in _ENCODERS:
        raise UserError(
            f"model type {kind!r}: the FLOPs of this encoder cannot be counted; counted are {', '.join(_ENCODERS)}."
        )
    return EncoderShape(stack=_stack(config, gated=False), head_weights=head_weights)


def shape_of_folder(folder: str | Path) -> ModelShape | None:
    """The shape of the model in ``folder`` (its config.json); None when its architecture is not counted.

    A LoRA adapter has no config.json: give its base model's folder; adapters are counted as merged into it.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return model_shape(config) if config.model_type in (*_DECODERS, *_ENCODER_DECODERS) else None


def shape_of_model(ref: ModelRef, layers: int | None = None) -> ModelShape | None:
    """The shape of a student by reference, with ``layers`` of its layers (None: all).

    None when its architecture is not counted or it is not on this machine.
    """
    if check_model(ref).status is not ModelStatus.READY:
        return None
    shape = shape_of_folder(resolve_model(ref).path)
    if shape is None or layers is None:
        return shape
    return replace(shape, decoder=replace(shape.decoder, layers=layers))


def encoder_shape_of_folder(folder: str | Path) -> EncoderShape | None:
    """The shape of the encoder in ``folder`` (its config.json); None when its architecture is not counted."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return encoder_shape(config) if config.model_type in _ENCODERS else None


def parameters_of_folder(folder: str | Path, layers: int | None = None) -> int:
    """Numbers in the safetensors files of ``folder``; a tied output layer is stored, and counted, once.

    With ``layers``, as if the model had so many: all are of one size.

    Raises UserError when there is no such file.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise UserError(f"model {folder}: has no *.safetensors to count the parameters of.")
    return sum(_numbers_in(file, layers) for file in files)


def _numbers_in(file: Path, layers: int | None) -> int:
    """Numbers in one safetensors file, from its header (8 bytes with the length of the JSON behind them)."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        layer = _LAYER.search(name)
        left_out = layers is not None and layer is not None and int(layer[1]) >= layers
        if name != "__metadata__" and not left_out:
            numbers = 1
            for size in tensor["shape"]:
                numbers *= size
            total += numbers
    return total


def _stack(config: PreTrainedConfig, *, gated: bool) -> Stack:
    hidden, heads = config.hidden_size, config.num_attention_heads
    return Stack(
        layers=config.num_hidden_layers,
        hidden=hidden,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or hidden // heads,
        inner=_inner(config, hidden),
        gated=gated,
    )


def _inner(config: PreTrainedConfig, hidden: int) -> int:
    """The MLP's width by the names that architectures have for it; GPT-2, GPT-Neo and BLOOM mean 4 x hidden by none."""
    names = ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim")
    given: list[Any] = [getattr(config, name, None) for name in names]
    return next((int(width) for width in given if width), 4 * hidden)


def _encoder_decoder(config: Any) -> ModelShape:
    def stack(layers: int, *, cross: bool) -> Stack:
        return Stack(
            layers=layers,
            hidden=config.d_model,
            heads=config.num_heads,
            kv_heads=config.num_heads,
            head_size=config.d_kv,
            inner=config.d_ff,
            gated=config.is_gated_act,
            cross=cross,
        )

    return ModelShape(
        encoder=stack(config.num_layers, cross=False),
        decoder=stack(config.num_decoder_layers, cross=True),
        vocabulary=config.vocab_size,
        output_width=config.d_model,
    )
