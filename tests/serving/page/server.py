"""The service's HTTP interface as it is, around parts that say what a test lets them say.

No student is loaded: instead of the deployments that find passages and write there is `ScriptedParts`. A script holds
`threading.Event`s between its steps; the answer waits for each until the test sets it, so a test sees the page between
two events without a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any

import uvicorn

from kard_ray.serving.api import build_api
from kard_ray.serving.cache import LruCache
from kard_ray.serving.config import ServingConfig
from kard_ray.serving.deadline import Deadline
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.metrics import Metrics
from kard_ray.serving.parts import Ask, Delta, Found, Query, SampleText, StudentEvent, Written
from kard_ray.serving.routing import Routing, StudentCard
from kard_ray.serving.service import Service
from kard_ray.serving.shell import Shell, respond
from kard_ray.serving.tokens import TokenFile

PASSAGES = [
    {
        "passage_id": "norway#1",
        "title": "Norway: area",
        "text": "Norway lies in Northern Europe. Its total area is 323,802 sq km, of which land takes 304,282 sq km "
        "and water 19,520 sq km; that is slightly larger than twice the size of Georgia. The mainland is glaciated, "
        "with mostly high plateaus and rugged mountains broken by fertile valleys, and small, scattered plains. The "
        "coastline is deeply indented by fjords, and arctic tundra lies in the north.",
        "score": 14.31,
        "source": "https://example.org/norway",
    },
    {
        "passage_id": "sweden#1",
        "title": "Sweden: area",
        "text": "The climate is temperate in the south with cold, cloudy winters and cool, partly cloudy summers, and "
        "subarctic in the north. Terrain is mostly flat or gently rolling lowlands, with mountains in the west. "
        "Natural resources are iron ore, copper, lead, zinc, gold, silver, tungsten, uranium, arsenic, feldspar, "
        "timber and hydropower. Its total area is 450,295 sq km, almost three times the size of Georgia.",
        "score": 13.87,
        "source": "factbook",
    },
    {
        "passage_id": "finland#1",
        "title": "Finland: economy",
        "text": "Exports are electrical and optical equipment, machinery and transport equipment, paper and pulp.",
        "score": 6.02,
        "source": "factbook",
    },
]
RATIONALE = (
    "Its total area is 323,802 sq km for Norway. For Sweden the total area is 450,295 sq km. "
    "450,295 is larger than 323,802. So the answer is no."
)
Step = StudentEvent | threading.Event | Exception


def pieces(text: str) -> list[Delta]:
    """``text`` as a student writes it: a word and the space before it at a time."""
    first, *others = text.split(" ")
    return [Delta(sample=0, text=first), *(Delta(sample=0, text=f" {word}") for word in others)]


def written(**changes: Any) -> Written:
    """The end of an answer, "no" unless ``changes`` says otherwise."""
    fields = {
        "answer": "no",
        "option": None,
        "rationale": RATIONALE,
        "confidence": 0.93,
        "samples": [],
        "shown": 64,
        "prompt_tokens": 415,
        "generated_tokens": 51,
        "seconds": 0.41,
        "version": "train/kard/5be0c1",
    } | changes
    sample = SampleText(text=fields["rationale"], answer=fields["answer"], option=fields["option"], cut=False)
    return Written(**(fields | {"samples": [sample]}))


def whole(ask: Ask) -> list[Step]:
    """Everything at once."""
    return [*pieces(RATIONALE), written()]


async def passed(gate: threading.Event) -> None:
    """Wait until a test has set ``gate``."""
    while not gate.is_set():
        await asyncio.sleep(0.005)


class ScriptedParts:
    """`kard_ray.serving.parts.Parts` without a cluster."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As new."""
        self.passages: Sequence[Mapping[str, Any]] = PASSAGES
        self.finding: list[threading.Event | Exception] = []  # before passages are found
        self.script: Callable[[Ask], Sequence[Step]] = whole
        self.keeping: Exception | None = None
        self.asked: list[Ask] = []
        self.verdicts: list[dict[str, Any]] = []
        self.cancelled = threading.Event()

    async def retrieve(self, query: Query, deadline: Deadline) -> Found:
        for step in self.finding:
            if isinstance(step, Exception):
                raise step
            await passed(step)
        return Found(passages=[dict(row) for row in self.passages[: query.k]], retrieve=0.0021, rerank=0.0063)

    async def answer(self, engine: str, ask: Ask, deadline: Deadline) -> Written:
        raise NotImplementedError("the page asks for streams alone")

    async def stream(self, engine: str, ask: Ask, deadline: Deadline) -> AsyncGenerator[StudentEvent, None]:
        self.asked.append(ask)
        try:
            for step in self.script(ask):
                if isinstance(step, threading.Event):
                    await passed(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def keep(self, row: Mapping[str, Any], deadline: Deadline) -> None:
        if self.keeping is not None:
            raise self.keeping
        self.verdicts.append(dict(row))

    async def unready(self, deadline: Deadline) -> list[str]:
        return []

    async def metrics(self) -> str:
        return ""


def student(name: str, passages: int) -> StudentCard:
    return StudentCard(
        name=name,
        method=name,
        version=f"train/{name}/5be0c1",
        created=1_760_000_000,
        engine="engine",
        passages=passages,
        with_options=False,
    )


class PageServer:
    """The running interface, and what a test may set on it."""

    def __init__(self) -> None:
        self.parts = ScriptedParts()
        config = ServingConfig(cache_entries=0, requests_per_minute=100_000, max_body_kib=8)
        metrics = Metrics()
        students = (student("kard", 3), student("std_cot", 0), student("skintern", 2))
        routing = Routing(students=students, knowledge_version="build-1", mode="bm25", modes=("bm25",))
        self.routing = routing
        self.service = Service(config, self.parts, routing, metrics)
        self.shell = Shell(
            build_api(self.service), config, self.service.limits, metrics, tokens=None, paths=frozenset()
        )
        settings = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=0,
            interface="asgi3",
            log_level="critical",
            lifespan="off",
            ws="none",
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def reset(self) -> None:
        """As new."""
        self.parts.reset()
        self.refusing: ServiceError | None = None  # as what stands in front answers while the service starts
        self.headers: list[dict[str, str]] = []
        self.service.routing = self.routing
        self.service.cache = LruCache(0)
        self.shell.tokens = None

    def offer(self, *students: StudentCard) -> None:
        """Serve these students from now on."""
        self.service.routing = self.routing.model_copy(update={"students": students})

    def demand(self, tokens: str | None) -> None:
        """Ask for a token of the file ``tokens`` from now on."""
        self.shell.tokens = None if tokens is None else TokenFile(tokens)

    def cut(self) -> None:
        """Break all connections off in the middle of what they carry."""
        assert self._loop is not None

        def abort() -> None:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port of the loopback interface; gives the address."""
        started = threading.Event()
        startup = self._server.startup

        async def startup_and_tell(sockets: Any = None) -> None:
            await startup(sockets)
            self._loop = asyncio.get_running_loop()
            started.set()

        self._server.startup = startup_and_tell  # type: ignore[method-assign]
        self.reset()
        self._thread.start()
        assert started.wait(30)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        if self.refusing is not None and scope["path"].startswith("/v1/"):
            await respond(send, self.refusing, "req-1")
        else:
            await self.shell(scope, receive, send)
