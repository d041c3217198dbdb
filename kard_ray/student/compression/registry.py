"""All compressors by name, and the choice among them; a new one is a new file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from kard_ray.runtime.models import ModelStatus, check_model
from kard_ray.student.compression.base import Compressor
from kard_ray.student.compression.config import DEFAULT_MODELS, CompressionConfig, CompressorName
from kard_ray.student.compression.llmlingua2 import LLMLingua2
from kard_ray.student.compression.self_information import SelfInformation

_COMPRESSORS: dict[CompressorName, Callable[[str, CompressionConfig], Compressor]] = {
    "self_information": SelfInformation,
    "llmlingua2": LLMLingua2,
}


def chosen(config: CompressionConfig) -> CompressionConfig:
    """``config`` with the kind and the model that this machine will use: no ``auto``, no null.

    An artifact's content should name these, not ``auto``, which means another model on another machine.
    """
    kind: CompressorName
    if config.kind == "auto":
        ready = check_model(DEFAULT_MODELS["llmlingua2"]).status is ModelStatus.READY
        kind = "llmlingua2" if ready else "self_information"
    else:
        kind = config.kind
    model = DEFAULT_MODELS[kind] if config.model is None else config.model
    return config.model_copy(update={"kind": kind, "model": model})


def load_compressor(config: CompressionConfig, model_path: str) -> Compressor:
    """The compressor of a ``chosen`` config, its model read from the directory ``model_path``.

    Raises UserError if the model is not of the kind's sort; ValueError for ``auto``, which must be chosen first.
    """
    if config.kind == "auto":
        raise ValueError("kind 'auto' is not a compressor: call chosen() first")
    return _COMPRESSORS[config.kind](model_path, config)
