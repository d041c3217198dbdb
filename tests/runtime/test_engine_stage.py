"""The engine's stage is the one that Ray's own builder makes, but for vLLM's absence from the driver."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import ray

from kard_ray.runtime.engine import EngineConfig, _processor_config
from kard_ray.runtime.engine_stage import text_engine

CPU = EngineConfig(device="cpu", replicas=2, batch_rows=4)
GPUS = EngineConfig(device="gpu", tensor_parallel=2, pipeline_parallel=2)


def test_a_driver_that_describes_an_engine_does_not_import_vllm() -> None:
    code = (
        "import sys; from kard_ray.runtime.engine import EngineConfig, _processor_config\n"
        "from kard_ray.runtime.engine_stage import dialogue_engine, text_engine\n"
        "config = _processor_config('model', EngineConfig(device='cpu'), seed=0)\n"
        "text_engine(config, 1), dialogue_engine(config, 1, ask=None)\n"
        "print({'vllm', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", done.stdout


@pytest.mark.ray
@pytest.mark.engine  # Ray's builder imports vLLM
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("config", [CPU, GPUS])
def test_the_stage_is_as_rays_builder_makes_it(config: EngineConfig, llama_folder: Any) -> None:
    from ray.data.llm import build_processor

    settings = _processor_config(str(llama_folder), config, seed=3)
    theirs, mine = (
        stage.get_dataset_map_batches_kwargs(batch_size=config.batch_rows, data_column="data")
        for stage in (
            build_processor(settings).get_stage_by_name("vLLMEngineStage"),
            text_engine(settings, config.max_restarts),
        )
    )
    made, expected = mine.pop("fn_constructor_kwargs"), theirs.pop("fn_constructor_kwargs")
    assert made.pop("engine").name == "vLLMEngineStageUDF"
    assert made.pop("expected_input_keys") == []  # rows are not looked at one by one
    assert {name: value for name, value in expected.items() if value is not None and name in made} == made
    assert {name for name, value in expected.items() if value is not None} - made.keys() == {
        "expected_input_keys"
    }
    pool, their_pool = mine.pop("compute"), theirs.pop("compute")
    assert isinstance(pool, ray.data.ActorPoolStrategy)
    assert vars(pool) == vars(their_pool)
    assert mine.pop("max_restarts") == config.max_restarts
    place, their_place = mine.pop("ray_remote_args_fn", None), theirs.pop("ray_remote_args_fn", None)
    assert (place is None) == (their_place is None) == (config is CPU)
    assert mine.pop("num_gpus") == theirs.pop("num_gpus", 0)
    assert theirs.pop("accelerator_type") is None
    assert mine == theirs
