"""What each process of a vLLM engine does before it works; vLLM imports :class:`EngineProcess` there.

On CPUs with AMX Linux gives a process the tile registers when it asks for them. vLLM 0.32's attention uses them and
does not ask; oneDNN does, with the first product that it computes with them. So an engine of a small model, whose
products are too small for that, died of an illegal instruction at its first prompt, and one of SmolLM2-135M did not.
"""

from __future__ import annotations

import torch

from kard_ray.runtime import engine_owner


class EngineProcess:
    """Nothing is added to vLLM's worker: to be imported in its process is all."""


torch.cpu._init_amx()  # False, and nothing else, where there is none
engine_owner.watch()
