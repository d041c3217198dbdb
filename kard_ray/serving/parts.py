"""What the ingress asks of the other parts, and how it reaches them: by Serve's handles, again when a replica was lost.

Everything asked for here may be asked twice without harm: a search and an answer change nothing, and a verdict has an
id under which it counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import ServiceError, unavailable
from kard_ray.serving.routing import RERANKED

NOT_READY = "not_ready"  # code of a part that does not yet know what it is asked for
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds before another try


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Asks for passages."""

    text: str
    k: int
    mode: str
    version: str
    filter: Mapping[str, Any] | None = None
    request_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Passages (passage_id, title, text, score, source), best first, and the seconds that each step took."""

    passages: list[dict[str, Any]]
    retrieve: float = 0.0
    rerank: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Asks a student one question. None: as the student's recipe says."""

    student: str
    version: str  # of the student; another one of the same name replies when this one is not there
    question: str
    options: Sequence[str]
    passages: Sequence[Mapping[str, Any]]
    seconds: float  # that are left
    samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    request_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleText:
    """What one sample came to."""

    text: str
    answer: str | None
    option: int | None
    cut: bool  # it ended because it had written all the tokens it may


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A student's reply."""

    version: str  # of the student that replied: another one than asked while it is being replaced
    answer: str | None
    option: int | None
    rationale: str
    confidence: float | None
    samples: list[SampleText]
    shown: int  # of the passages; a student that asks when unsure may have looked at none
    prompt_tokens: int
    generated_tokens: int
    seconds: float  # in the engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """Text that a sample goes on with."""

    sample: int
    text: str


@dataclass(frozen=True, slots=True)
class Restart:
    """All text so far is void."""


StudentEvent = Delta | Restart | Written


class Parts(Protocol):
    """The rest of the service, as the ingress sees it. Errors are ServiceError."""

    async def retrieve(self, query: Query, deadline: Deadline) -> Found:
        """Passages for a query."""
        ...

    async def answer(self, engine: str, ask: Ask, deadline: Deadline) -> Written:
        """A student's reply."""
        ...

    def stream(self, engine: str, ask: Ask, deadline: Deadline) -> AsyncGenerator[StudentEvent, None]:
        """The reply as it is written; Written comes last."""
        ...

    async def keep(self, row: Mapping[str, Any], deadline: Deadline) -> None:
        """Store a verdict; returns when it is on disk."""
        ...

    async def unready(self, deadline: Deadline) -> list[str]:
        """One sentence for each part that is not ready."""
        ...

    async def metrics(self) -> str:
        """Prometheus text of all parts."""
        ...


@dataclass(kw_only=True)
class ServeParts:
    """The parts as deployments of Serve."""

    retriever: Any
    engines: Mapping[str, Any]
    feedback: Any
    reranker: Any | None = None
    lost: Callable[[str], None] = lambda part: None  # told of each try that a lost replica ended

    def __post_init__(self) -> None:
        # By gRPC between replicas: half the time of an actor call, and a third of it for streams (measured).
        options = {"_by_reference": False}
        self.retriever = self.retriever.options(**options)
        self.feedback = self.feedback.options(**options)
        self.reranker = self.reranker.options(**options) if self.reranker is not None else None
        self.engines = {name: handle.options(**options) for name, handle in self.engines.items()}

    async def retrieve(self, query: Query, deadline: Deadline) -> Found:
        """As Parts says."""
        reranked = query.mode in RERANKED
        part = self.reranker if reranked else self.retriever
        if part is None:
            raise unavailable("the reranker")
        name = "reranker" if reranked else "retriever"
        found: Found = await self._again(name, lambda: part.retrieve.remote(query), deadline)
        return found

    async def answer(self, engine: str, ask: Ask, deadline: Deadline) -> Written:
        """As Parts says."""
        student = self._engine(engine)
        written: Written = await self._again(
            "student", lambda: student.answer.remote(replace(ask, seconds=deadline.left)), deadline
        )
        return written

    async def stream(self, engine: str, ask: Ask, deadline: Deadline) -> AsyncGenerator[StudentEvent, None]:
        """As Parts says; when the student is lost on the way, it begins anew."""
        student = self._engine(engine).options(stream=True)
        pause, begun = _FIRST_PAUSE, False
        while True:
            events = student.stream.remote(replace(ask, seconds=deadline.left))
            try:
                while True:
                    async with deadline.hold():
                        batch = await anext(events)
                    for event in batch:
                        begun = True
                        yield event
            except StopAsyncIteration:
                return
            except Exception as error:  # noqa: BLE001 - raised again by _judge, unless another try makes sense
                events.cancel()
                self._judge("student", error, deadline)
            except BaseException:
                events.cancel()
                raise
            if begun:
                yield Restart()
                begun = False
            pause = await _rest(pause, deadline)

    async def keep(self, row: Mapping[str, Any], deadline: Deadline) -> None:
        """As Parts says."""
        await self._again("feedback", lambda: self.feedback.keep.remote(dict(row)), deadline)

    async def unready(self, deadline: Deadline) -> list[str]:
        """As Parts says."""
        parts = {"retriever": self.retriever, "feedback": self.feedback, **self.engines}
        if self.reranker is not None:
            parts["reranker"] = self.reranker
        told = await asyncio.gather(*(self._state(name, part, deadline) for name, part in parts.items()))
        return [sentence for sentence in told if sentence is not None]

    async def metrics(self) -> str:
        """As Parts says."""
        from kard_ray.serving.metrics import cluster_metrics

        return await cluster_metrics()

    async def _state(self, name: str, part: Any, deadline: Deadline) -> str | None:
        try:
            async with deadline.hold():
                return await _result(part.state.remote())
        except Exception as error:
            if not isinstance(error, ServiceError) and not _is_loss(error):
                raise
            return f"{name}: it does not answer."

    def _engine(self, name: str) -> Any:
        if name not in self.engines:  # a student that was taken away a moment ago
            raise unavailable("this student")
        return self.engines[name]

    async def _again(self, part: str, call: Callable[[], Any], deadline: Deadline) -> Any:
        """Await ``call``, anew as often as a replica is lost, until the deadline."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with deadline.hold():
                    return await _result(call())
            except Exception as error:  # noqa: BLE001 - as in stream
                self._judge(part, error, deadline)
            pause = await _rest(pause, deadline)

    def _judge(self, part: str, error: Exception, deadline: Deadline) -> None:
        """Return if another try makes sense, else raise what the client is told."""
        own = _own(error)
        if own is not None:
            if own.code != NOT_READY:
                raise own
        elif _is_loss(error):
            self.lost(part)
        else:
            raise error
        if deadline.left <= 0:
            raise unavailable(f"the {part}")


async def _result(response: Any) -> Any:
    """What a handle's response holds; the call is cancelled with whoever waits for it."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise


async def _rest(pause: float, deadline: Deadline) -> float:
    """Wait before another try; returns the next pause."""
    await asyncio.sleep(min(pause, deadline.left))
    return min(2 * pause, _LONGEST_PAUSE)


def _own(error: BaseException) -> ServiceError | None:
    """The ServiceError behind what Ray makes of one."""
    if isinstance(error, ServiceError):
        cause = getattr(error, "cause", error)
        return cause if isinstance(cause, ServiceError) else error
    return None


def _is_loss(error: BaseException) -> bool:
    """Whether a replica was lost, or there is none now: not what it was asked for, but that it is gone."""
    import grpc  # type: ignore[import-untyped]
    from ray.exceptions import RayActorError, RaySystemError, TaskCancelledError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

    gone = (
        RayActorError,
        RaySystemError,
        TaskCancelledError,
        BackPressureError,
        DeploymentUnavailableError,
        RequestCancelledError,
        grpc.aio.AioRpcError,
    )
    return isinstance(error, gone)
