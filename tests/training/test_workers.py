from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.training.workers import step_seed


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**7), st.integers(0, 1000))
def test_torch_takes_the_seed_of_any_step_of_any_worker(seed: int, step: int, worker: int) -> None:
    torch.manual_seed(step_seed(seed, step, worker))
    assert step_seed(seed, step, worker) == step_seed(seed, step, worker)
    assert step_seed(seed, step, worker) not in (
        step_seed(seed, step + 1, worker),
        step_seed(seed, step, worker + 1),
    )
