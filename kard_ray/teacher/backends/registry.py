"""The backend that a recipe names; a new one is a new file and one case here."""

from __future__ import annotations

from kard_ray.runtime.engine import SamplingConfig
from kard_ray.runtime.models import resolve_model
from kard_ray.teacher.backends.endpoint import EndpointConfig
from kard_ray.teacher.backends.recorded import Recorded, RecordedConfig
from kard_ray.teacher.backends.remote import Remote
from kard_ray.teacher.backends.vllm import Vllm
from kard_ray.teacher.backends.work import Backend, Style
from kard_ray.teacher.config import TeacherConfig


def load_backend(
    config: TeacherConfig, sampling: SamplingConfig, style: Style, *, seed: int, samples: int
) -> Backend:
    """The backend of ``config`` with this ``sampling``; ``samples`` of an item are asked for together.

    Raises UserError when its model, key or file cannot be had.
    """
    if isinstance(config.backend, RecordedConfig):
        return Recorded(config.backend)
    if isinstance(config.backend, EndpointConfig):
        return Remote(config.backend, config.model, sampling, style, seed)
    model = resolve_model(config.model)
    return Vllm(model, config.engine, sampling, style, seed, samples)
