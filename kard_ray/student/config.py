"""Settings of student training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from kard_ray.runtime.config import Frozen, Seed
from kard_ray.student.methods.registry import MethodName
from kard_ray.student.rationale_choice import Choice
from kard_ray.student.rendering import RenderingConfig

MODEL_FOLDER = "model"  # of a trained student, for transformers and vLLM
ADAPTER_FOLDER = "adapter"  # beside it, when it was trained with LoRA
CUES = "cues"  # count of a student's manifest: what its prompts end with at test, one pass after the other

Tracking = Literal["tensorboard", "mlflow"]


class StudentConfig(Frozen):
    """Which students are trained, and how; one artifact per method."""

    # A student is made by one method, so the list of methods is no part of any student's content.
    EXECUTION = frozenset(
        {
            "methods", "micro_batch_tokens", "packing", "gradient_checkpointing", "sharding", "workers",
            "cpus_per_worker", "gpus_per_worker", "checkpoint_seconds", "max_failures", "tracking", "mlflow_uri",
        }
    )  # fmt: skip

    model: str = "bundled:smollm2-135m-instruct"  # model reference
    layers: int | None = Field(None, ge=1)  # left of the model's, evenly spaced: a smaller student; null: all
    methods: tuple[MethodName, ...] = Field(("finetune", "std_cot", "kard"), min_length=1)
    passages: int = Field(3, ge=0, le=64)  # k, passages in the prompt
    rationales: int = Field(2, ge=1, le=64)  # l used per question
    choose: Choice = (
        "random"  # which of the kept ones: any, the shortest, or those best supported by their passages
    )
    alpha: float = Field(0.3, ge=0, le=1)  # of the answer's loss in two tasks (hard-coded in SKIntern's code)
    # Share of the loss for answering at once, in methods of one task that write rationales; 0: KARD as it is published.
    # One row per question says its answer behind the cue "Answer:", from what its rationale is written from.
    answer_weight: float = Field(0.0, ge=0, lt=1)
    # Share of the rows of methods that read a rationale's passages which read what the question finds, as at test; 0:
    # KARD as it is published, whose student never meets a passage that does not help.
    found_share: float = Field(0.0, ge=0, le=1)
    epochs: float = Field(3.0, gt=0)
    batch_size: int = Field(16, ge=1)  # rows per optimizer step, over all workers
    micro_batch_tokens: int = Field(8192, ge=1)  # in one worker's forward pass; one row at least
    packing: bool = (
        True  # rows one behind the other without padding, where the model can; the losses are the same
    )
    learning_rate: float = Field(1e-4, gt=0)  # peak, after warm-up
    warmup_fraction: float = Field(0.06, ge=0, le=1)  # of all steps
    stage_schedule: Literal["whole", "restart"] = (
        "whole"  # restart: warm-up and decay anew in each curriculum stage
    )
    weight_decay: float = Field(0.0, ge=0)
    max_gradient_norm: float = Field(1.0, gt=0)
    precision: Literal["bf16", "fp32"] = "bf16"  # bf16: bfloat16 weights with float32 master copies
    lora_rank: int = Field(0, ge=0, le=512)  # 0: train all weights
    quantization: Literal["none", "nf4"] = (
        "none"  # nf4: frozen weights in 4 bits under LoRA (QLoRA); needs a GPU
    )
    # Share of the training questions that only choose the checkpoint
    held_out: float = Field(0.0, ge=0, lt=1)
    best: Literal["last", "loss", "accuracy"] = (
        "last"  # which checkpoint becomes the student, by its held-out questions
    )
    evaluations: int = Field(4, ge=1)  # times a student is looked at, in the last stage of its training
    gradient_checkpointing: bool = False  # less memory for about a third more time
    workers: int = Field(1, ge=1)  # data-parallel
    sharding: Literal["ddp", "fsdp"] = "ddp"  # fsdp: each worker keeps a part of the weights
    cpus_per_worker: int = Field(1, ge=1)  # cores, and torch threads, of one worker
    gpus_per_worker: float = Field(0.0, ge=0)
    checkpoint_seconds: float = Field(300.0, ge=0)  # a killed run loses at most this much training
    max_failures: int = Field(2, ge=0)  # worker failures survived within one run
    tracking: tuple[Tracking, ...] = ("tensorboard",)  # who gets the learning curve, beside curve.parquet
    mlflow_uri: str | None = None  # None: mlflow.db in the run directory
    rendering: RenderingConfig = RenderingConfig()
    seed: Seed = 42

    @model_validator(mode="after")
    def _fields_fit_together(self) -> StudentConfig:
        if self.best != "last" and self.held_out == 0:
            raise ValueError(
                f"best is {self.best}, which is measured on held-out questions, but held_out is 0; set held_out to 0.1 "
                "or so, or best to last"
            )
        if self.layers is not None and self.lora_rank:
            raise ValueError(
                f"layers is {self.layers}, and what is left must be trained as a whole, but lora_rank is "
                f"{self.lora_rank}; set lora_rank to 0"
            )
        if self.quantization != "none" and not self.lora_rank:
            raise ValueError(
                "quantization is nf4, whose weights cannot be trained, but lora_rank is 0; set lora_rank to 16 or so"
            )
        if self.quantization != "none" and self.sharding == "fsdp":
            raise ValueError("quantization is nf4, whose weights cannot be divided; set sharding to ddp")
        return self

    def content(self) -> dict[str, Any]:
        """As every configuration's; what makes no difference is left out."""
        plain = super().content()
        for name in ("answer_weight", "found_share"):
            if plain[name] == 0:
                del plain[name]
        if self.held_out == 0:
            del plain["evaluations"], plain["best"]
        return plain
