"""Settings of compression."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from kard_ray.runtime.config import Frozen

CompressorName = Literal["self_information", "llmlingua2"]

DEFAULT_MODELS: dict[CompressorName, str] = {
    "self_information": "bundled:smollm2-135m-instruct",
    "llmlingua2": "microsoft/llmlingua-2-xlm-roberta-large-meetingbank",
}


class CompressionConfig(Frozen):
    """Which tokens of the symbolic knowledge are kept, and who decides."""

    EXECUTION = frozenset({"batch_tokens", "batch_rows", "workers", "cpus_per_worker", "gpus_per_worker"})

    # auto: llmlingua2 when its model is on this machine, else self_information
    kind: Literal["auto", "self_information", "llmlingua2"] = "auto"
    model: str | None = None  # model reference; null: the kind's own
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    window_tokens: int = Field(512, ge=16)  # read at once; a longer text is read in windows
    batch_tokens: int = Field(2048, ge=1)  # in one forward pass, with padding; one window at least
    batch_rows: int = Field(64, ge=1)  # rationales handed to a worker at a time
    workers: int = Field(1, ge=1, le=1024)  # models side by side
    cpus_per_worker: int = Field(1, ge=1)  # cores, and torch threads, of one worker
    gpus_per_worker: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _a_model_has_a_kind(self) -> Self:
        if self.kind == "auto" and self.model is not None:
            raise ValueError(
                f"field model: got {self.model!r} with kind: auto, which chooses the model itself; set kind to "
                "self_information (a causal language model) or llmlingua2 (a token classifier)"
            )
        return self
