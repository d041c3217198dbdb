"""All benchmarks by the ``kind`` of their configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kard_ray.benchmarks.arc import Arc, ArcConfig
from kard_ray.benchmarks.bbh import Bbh, BbhConfig
from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
from kard_ray.benchmarks.gsm8k import Gsm8k, Gsm8kConfig
from kard_ray.benchmarks.jsonl import Jsonl, JsonlConfig
from kard_ray.benchmarks.kard_format import KardFormat, KardFormatConfig
from kard_ray.benchmarks.question import Benchmark

BenchmarkConfig = Annotated[
    FactbookConfig | JsonlConfig | KardFormatConfig | Gsm8kConfig | BbhConfig | ArcConfig,
    Field(discriminator="kind"),
]


def load_benchmark(config: BenchmarkConfig) -> Benchmark:
    """The benchmark that ``config`` describes; nothing is read or downloaded yet."""
    match config:
        case FactbookConfig():
            return Factbook(config)
        case JsonlConfig():
            return Jsonl(config)
        case KardFormatConfig():
            return KardFormat(config)
        case Gsm8kConfig():
            return Gsm8k(config)
        case BbhConfig():
            return Bbh(config)
        case ArcConfig():
            return Arc(config)
