"""Why a student's training failed, in one sentence with the field to change."""

from __future__ import annotations

from kard_ray.student.config import StudentConfig
from kard_ray.training import failures


def why_training_failed(error: BaseException, config: StudentConfig) -> str | None:
    """The sentence for ``error``, as :func:`kard_ray.training.failures.why_training_failed`."""
    return failures.why_training_failed(
        error, less_memory=_less_memory(config), failures_field="student.max_failures"
    )


def _less_memory(config: StudentConfig) -> str:
    """What is left to change, what costs least first."""
    ways = [f"lower student.micro_batch_tokens (now {config.micro_batch_tokens})"]
    if not config.gradient_checkpointing:
        ways.append("set student.gradient_checkpointing to true")
    if not config.lora_rank:
        ways.append("set student.lora_rank to 16 or so")
    if config.workers > 1:
        if config.sharding == "ddp":
            ways.append("set student.sharding to fsdp")
        ways.append(f"lower student.workers (now {config.workers}) if they share a machine")
    return ", ".join(ways[:-1]) + (" or " if len(ways) > 1 else "") + ways[-1]
