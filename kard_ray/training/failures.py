"""Why a training failed, in one sentence with the field to change."""

from __future__ import annotations

from typing import Any

from kard_ray.runtime.errors import explain

# Of torch's allocators on CPU and GPU, of Python and of Ray's memory monitor.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "OutOfMemoryError",
    "MemoryError",
    "Cannot allocate memory",
    "memory usage threshold",
    "running low on memory",
)
_DIED = ("ActorDiedError", "WorkerCrashedError", "ActorUnavailableError", "The actor died", "NodeDiedError")


def why_training_failed(error: BaseException, *, less_memory: str, failures_field: str) -> str | None:
    """The sentence for ``error``, raised by Ray Train's ``fit``; None for one that is a mistake of the program.

    ``less_memory`` says what to change in the recipe so that less memory is needed.

    Ray Train gives each worker's error under its rank, as an exception or as the text of its traceback.
    """
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    causes = [error, *failures.values()]
    told = next((sentence for cause in causes if (sentence := explain(cause))), None)
    if told is not None:
        return told
    text = "\n".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    worker = f"worker {min(failures)}" if failures else "a worker"
    if any(sign in text for sign in _OUT_OF_MEMORY):
        return (
            f"{worker} ran out of memory; {less_memory}, and run the same command again: it goes on from its "
            "last checkpoint."
        )
    if any(sign in text for sign in _DIED):
        return (
            f"{worker} died without an error of its own, mostly because the machine had no memory left; "
            f"{less_memory} (or raise {failures_field} if machines come and go), and run the same command "
            "again: it goes on from its last checkpoint."
        )
    return None
