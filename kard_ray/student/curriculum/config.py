"""What a curriculum is made of: how help falls from stage to stage, and which help there is."""

from __future__ import annotations

from pydantic import Field

from kard_ray.runtime.config import Frozen
from kard_ray.student.compression.config import CompressionConfig
from kard_ray.student.curriculum.schedule import ScheduleConfig


class CurriculumConfig(Frozen):
    """SKIntern's help by stage: compressed symbolic knowledge and few-shot examples."""

    schedule: ScheduleConfig = ScheduleConfig()
    compression: CompressionConfig = CompressionConfig()
    examples: int = Field(6, ge=0, le=64)  # K, examples at the first stage (SKIntern's code: 6)
    same_kind: bool = False  # examples only of the question's own kind
    encoders: int = Field(1, ge=1, le=1024)  # embedders side by side, for the choice of examples
