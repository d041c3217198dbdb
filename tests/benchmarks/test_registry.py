from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from kard_ray.benchmarks.agieval import AgiEval
from kard_ray.benchmarks.arc import Arc
from kard_ray.benchmarks.bbh import Bbh
from kard_ray.benchmarks.factbook import Factbook
from kard_ray.benchmarks.gsm8k import Gsm8k
from kard_ray.benchmarks.gsm_plus import GsmPlus
from kard_ray.benchmarks.jsonl import Jsonl
from kard_ray.benchmarks.medqa import MedQa
from kard_ray.benchmarks.openbookqa import OpenBookQa
from kard_ray.benchmarks.registry import BenchmarkConfig, load_benchmark
from kard_ray.benchmarks.strategyqa import StrategyQa

ADAPTER = TypeAdapter(BenchmarkConfig)


@pytest.mark.parametrize(
    ("tree", "benchmark", "name"),
    [
        ({"kind": "factbook", "train": 10}, Factbook, "factbook"),
        ({"kind": "jsonl", "test": "q.jsonl", "name": "own"}, Jsonl, "own"),
        ({"kind": "medqa", "path": "folder"}, MedQa, "medqa"),
        ({"kind": "strategyqa", "path": "folder"}, StrategyQa, "strategyqa"),
        ({"kind": "openbookqa", "path": "folder"}, OpenBookQa, "openbookqa"),
        ({"kind": "gsm8k", "path": "folder"}, Gsm8k, "gsm8k"),
        ({"kind": "bbh", "path": "folder", "tasks": ["snarks"]}, Bbh, "bbh"),
        ({"kind": "gsm_plus", "hub": "owner/name"}, GsmPlus, "gsm_plus"),
        ({"kind": "agieval", "hub": "owner/name", "revision": "v1"}, AgiEval, "agieval"),
        ({"kind": "gsm8k"}, Gsm8k, "gsm8k"),
        ({"kind": "arc_easy", "path": "folder"}, Arc, "arc_easy"),
        ({"kind": "arc_challenge", "path": "folder"}, Arc, "arc_challenge"),
    ],
)
def test_kind_chooses_the_benchmark(tree, benchmark, name):
    loaded = load_benchmark(ADAPTER.validate_python(tree))
    assert isinstance(loaded, benchmark)
    assert loaded.name == name


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError, match="kind"):
        ADAPTER.validate_python({"kind": "trivia"})


def test_an_unknown_task_is_refused():
    with pytest.raises(ValidationError, match="tasks"):
        ADAPTER.validate_python({"kind": "bbh", "path": "folder", "tasks": ["snark"]})
