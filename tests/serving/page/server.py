"""A small HTTP server that speaks the documented API, word by word as a test lets it.

It holds no student: what it says is written down here. A script is a list of events and of `threading.Event`s; an
answer waits for each of the latter until the test sets it, so a test sees the page between two events without a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import kard_ray

FILES = Path(kard_ray.__file__).parent / "serving" / "web"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
}
BREAK = "the connection breaks"

PASSAGES = [
    {
        "passage_id": "norway#1",
        "title": "Norway: area",
        "text": "Norway lies in Northern Europe. Its total area is 323,802 sq km, of which land takes 304,282 sq km "
        "and water 19,520 sq km; that is slightly larger than twice the size of Georgia. The mainland is glaciated, "
        "with mostly high plateaus and rugged mountains broken by fertile valleys, and small, scattered plains. The "
        "coastline is deeply indented by fjords, and arctic tundra lies in the north.",
        "score": 14.31,
        "source": "factbook",
        "link": "https://example.org/norway",
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
        "link": None,
    },
    {
        "passage_id": "finland#1",
        "title": "Finland: economy",
        "text": "Exports are electrical and optical equipment, machinery and transport equipment, paper and pulp.",
        "score": 6.02,
        "source": "factbook",
        "link": "javascript:alert(1)",
    },
]
RATIONALE = (
    "Its total area is 323,802 sq km for Norway. For Sweden the total area is 450,295 sq km. "
    "450,295 is larger than 323,802. So the answer is no."
)


def pieces(text: str) -> list[str]:
    """``text`` as a student writes it: a word and the space before it at a time."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def passages_event(passages: list[dict[str, Any]]) -> tuple[str, Any]:
    return "passages", {"id": "ans_1", "passages": passages, "milliseconds": {"queue": 0.4, "retrieve": 2.1}}


def answer_event(body: dict[str, Any], **changes: Any) -> tuple[str, Any]:
    answer = {
        "id": "ans_1",
        "answer": "no",
        "option": 1,
        "rationale": RATIONALE,
        "confidence": 0.93,
        "samples": [],
        "passages": PASSAGES,
        "milliseconds": {"queue": 0.4, "retrieve": 2.1, "rerank": 6.3, "generate": 410.2, "total": 420.4},
        "tokens": {"prompt": 415, "generated": 51},
        "model": body["model"],
        "model_version": "train/kard/5be0c1",
        "knowledge_version": "build-1",
        "cached": False,
    }
    return "answer", answer | changes


def whole(body: dict[str, Any]) -> list[Any]:
    """Everything at once."""
    tokens = [("token", {"sample": 0, "text": piece}) for piece in pieces(RATIONALE)]
    return [passages_event(PASSAGES), *tokens, answer_event(body)]


def student(name: str, passages: int) -> dict[str, Any]:
    owned = {
        "method": name,
        "version": "1",
        "passages": passages,
        "reads": passages > 0,
        "default": name == "kard",
    }
    return {"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "kard-ray", "kard": owned}


class PageServer:
    """The server and what a test may set on it; ``asked`` and ``verdicts`` are the bodies that it was sent."""

    def __init__(self) -> None:
        self.reset()
        app = Starlette(
            routes=[
                Route("/", self._file),
                Route("/static/{name}", self._file),
                Route("/v1/models", self._models),
                Route("/v1/answer", self._answer, methods=["POST"]),
                Route("/v1/feedback", self._feedback, methods=["POST"]),
            ]
        )
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def reset(self) -> None:
        """As new."""
        self.script: Callable[[dict[str, Any]], list[Any]] = whole
        self.refusal: tuple[int, dict[str, Any], dict[str, str]] | None = None  # status, error, headers
        self.token: str | None = None
        self.students = [student("kard", 3), student("std_cot", 0), student("skintern", 2)]
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.verdicts: list[dict[str, Any]] = []
        self.cancelled = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port of the loopback interface; gives the address."""
        started = threading.Event()
        startup = self._server.startup

        async def startup_and_tell(sockets: Any = None) -> None:
            await startup(sockets)
            started.set()

        self._server.startup = startup_and_tell  # type: ignore[method-assign]
        self._thread.start()
        assert started.wait(30)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)

    def _refused(self, request: Request) -> Response | None:
        given = request.headers.get("authorization")
        self.tokens.append(given)
        if self.token and given != f"Bearer {self.token}":
            return error(401, "unauthorized", "a token is needed")
        if self.refusal:
            status, described, headers = self.refusal
            return JSONResponse({"error": described}, status, headers)
        return None

    async def _file(self, request: Request) -> Response:
        return FileResponse(FILES / request.path_params.get("name", "index.html"), headers=HEADERS)

    async def _models(self, request: Request) -> Response:
        limits = {"question_characters": 4000, "options": 26, "passages": 3}
        body = {"object": "list", "data": self.students, "kard": {"default_model": "kard", "limits": limits}}
        return self._refused(request) or JSONResponse(body)

    async def _feedback(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        self.verdicts.append(await request.json())
        return JSONResponse({"feedback_id": self.verdicts[-1]["feedback_id"]}, 201)

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        if refused := self._refused(request):
            return refused
        self.asked.append(body)
        return StreamingResponse(self._events(self.script(body)), media_type="text/event-stream")

    async def _events(self, script: list[Any]) -> AsyncIterator[str]:
        try:
            yield ": the connection is open\n\n"
            for step in script:
                if isinstance(step, threading.Event):
                    while not step.is_set():
                        await asyncio.sleep(0.005)
                elif step == BREAK:
                    raise ConnectionResetError
                else:
                    name, data = step
                    yield f"event: {name}\ndata: {json.dumps(data)}\n\n"
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def error(status: int, code: str, message: str, **headers: str) -> Response:
    body = {"error": {"message": message, "code": code, "param": None, "request_id": "req-1"}}
    return JSONResponse(body, status, {name.replace("_", "-"): value for name, value in headers.items()})
