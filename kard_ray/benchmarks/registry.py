"""All benchmarks by the ``kind`` of their configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kard_ray.benchmarks.agieval import AgiEval, AgiEvalConfig
from kard_ray.benchmarks.arc import Arc, ArcChallengeConfig, ArcEasyConfig
from kard_ray.benchmarks.bbh import Bbh, BbhConfig
from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
from kard_ray.benchmarks.gsm8k import Gsm8k, Gsm8kConfig
from kard_ray.benchmarks.gsm_plus import GsmPlus, GsmPlusConfig
from kard_ray.benchmarks.jsonl import Jsonl, JsonlConfig
from kard_ray.benchmarks.medqa import MedQa, MedQaConfig
from kard_ray.benchmarks.openbookqa import OpenBookQa, OpenBookQaConfig
from kard_ray.benchmarks.question import Benchmark
from kard_ray.benchmarks.strategyqa import StrategyQa, StrategyQaConfig

BenchmarkConfig = Annotated[
    FactbookConfig
    | JsonlConfig
    | MedQaConfig
    | StrategyQaConfig
    | OpenBookQaConfig
    | Gsm8kConfig
    | GsmPlusConfig
    | BbhConfig
    | ArcEasyConfig
    | ArcChallengeConfig
    | AgiEvalConfig,
    Field(discriminator="kind"),
]


def load_benchmark(config: BenchmarkConfig) -> Benchmark:
    """The benchmark that ``config`` describes; nothing is read or downloaded yet."""
    match config:
        case FactbookConfig():
            return Factbook(config)
        case JsonlConfig():
            return Jsonl(config)
        case MedQaConfig():
            return MedQa(config)
        case StrategyQaConfig():
            return StrategyQa(config)
        case OpenBookQaConfig():
            return OpenBookQa(config)
        case Gsm8kConfig():
            return Gsm8k(config)
        case GsmPlusConfig():
            return GsmPlus(config)
        case BbhConfig():
            return Bbh(config)
        case ArcEasyConfig() | ArcChallengeConfig():
            return Arc(config)
        case AgiEvalConfig():
            return AgiEval(config)
