from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from kard_ray.benchmarks.arc import Arc
from kard_ray.benchmarks.bbh import Bbh
from kard_ray.benchmarks.factbook import Factbook
from kard_ray.benchmarks.gsm8k import Gsm8k
from kard_ray.benchmarks.jsonl import Jsonl
from kard_ray.benchmarks.kard_format import KardFormat
from kard_ray.benchmarks.registry import BenchmarkConfig, load_benchmark

ADAPTER = TypeAdapter(BenchmarkConfig)


@pytest.mark.parametrize(
    ("tree", "benchmark", "name"),
    [
        ({"kind": "factbook", "train": 10}, Factbook, "factbook"),
        ({"kind": "jsonl", "test": "q.jsonl", "name": "own"}, Jsonl, "own"),
        ({"kind": "medqa", "path": "folder"}, KardFormat, "medqa"),
        ({"kind": "strategyqa", "path": "folder"}, KardFormat, "strategyqa"),
        ({"kind": "openbookqa", "path": "folder"}, KardFormat, "openbookqa"),
        ({"kind": "gsm8k", "path": "folder"}, Gsm8k, "gsm8k"),
        ({"kind": "bbh", "path": "folder", "tasks": ["snarks"]}, Bbh, "bbh"),
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
