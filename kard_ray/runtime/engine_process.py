"""What each process of a vLLM engine does before it works; vLLM imports :class:`EngineProcess` there.

On CPUs with AMX Linux gives a process the tile registers when it asks for them, and vLLM 0.32 does not. An engine of a
tiny model died of an illegal instruction at its first prompt, and does not since this asks. One of SmolLM2-135M never
did: most likely oneDNN asks for its larger products.
"""

from __future__ import annotations

import torch

from kard_ray.runtime import engine_owner


class EngineProcess:
    """Nothing is added to vLLM's worker: to be imported in its process is all."""


torch.cpu._init_amx()  # False, and nothing else, where there is none
engine_owner.watch()
