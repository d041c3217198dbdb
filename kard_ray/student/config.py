"""Settings of student training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kard_ray.runtime.config import Frozen
from kard_ray.student.methods.registry import MethodName
from kard_ray.student.rendering import RenderingConfig

MODEL_FOLDER = "model"  # of a trained student, for transformers and vLLM
ADAPTER_FOLDER = "adapter"  # beside it, when it was trained with LoRA
ANSWER_CUE = "answer_cue"  # count of a student's manifest: what a prompt that asks for its answer ends with


class StudentConfig(Frozen):
    """Which students are trained, and how; one artifact per method."""

    # A student is made by one method, so the list of methods is no part of any student's content.
    EXECUTION = frozenset(
        {
            "methods", "micro_batch_tokens", "gradient_checkpointing", "workers", "cpus_per_worker", "gpus_per_worker",
            "checkpoint_seconds", "max_failures",
        }
    )  # fmt: skip

    model: str = "bundled:smollm2-135m-instruct"  # model reference
    methods: tuple[MethodName, ...] = Field(("finetune", "std_cot", "kard"), min_length=1)
    passages: int = Field(3, ge=0, le=64)  # k, passages in the prompt
    rationales: int = Field(2, ge=1, le=64)  # l used per question
    alpha: float = Field(0.3, ge=0, le=1)  # of the answer's loss in two tasks (hard-coded in SKIntern's code)
    epochs: float = Field(3.0, gt=0)
    batch_size: int = Field(16, ge=1)  # rows per optimizer step, over all workers
    micro_batch_tokens: int = Field(8192, ge=1)  # in one worker's forward pass; one row at least
    learning_rate: float = Field(1e-4, gt=0)  # peak, after warm-up
    warmup_fraction: float = Field(0.06, ge=0, le=1)  # of all steps
    weight_decay: float = Field(0.0, ge=0)
    max_gradient_norm: float = Field(1.0, gt=0)
    precision: Literal["bf16", "fp32"] = "bf16"  # bf16: bfloat16 weights with float32 master copies
    lora_rank: int = Field(0, ge=0, le=512)  # 0: train all weights
    gradient_checkpointing: bool = False  # less memory for about a third more time
    workers: int = Field(1, ge=1)  # data-parallel
    cpus_per_worker: int = Field(1, ge=1)  # cores, and torch threads, of one worker
    gpus_per_worker: float = Field(0.0, ge=0)
    checkpoint_seconds: float = Field(300.0, ge=0)  # a killed run loses at most this much training
    max_failures: int = Field(2, ge=0)  # worker failures survived within one run
    rendering: RenderingConfig = RenderingConfig()
    seed: int = 42
