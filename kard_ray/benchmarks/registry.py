"""All benchmarks by the ``kind`` of their configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
from kard_ray.benchmarks.jsonl import Jsonl, JsonlConfig
from kard_ray.benchmarks.kard_format import KardFormat, KardFormatConfig
from kard_ray.benchmarks.question import Benchmark

BenchmarkConfig = Annotated[FactbookConfig | JsonlConfig | KardFormatConfig, Field(discriminator="kind")]


def load_benchmark(config: FactbookConfig | JsonlConfig | KardFormatConfig) -> Benchmark:
    """The benchmark that ``config`` describes; nothing is read or downloaded yet."""
    if isinstance(config, FactbookConfig):
        return Factbook(config)
    if isinstance(config, JsonlConfig):
        return Jsonl(config)
    return KardFormat(config)
