"""What stands in Serve's HTTP proxy, before a replica of the ingress is chosen.

A replica of the ingress may be lost like any other, and then Serve's proxy has no answer to give. Everything that the
interface offers may be asked twice without harm, so the request is asked of another replica here, until its time is
over. Serve's own paths, which tell of routes without a token, are closed. Serve takes this as a callback:
``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=kard_ray.serving.door.middlewares``.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import uuid

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kard_ray.serving import sse
from kard_ray.serving.errors import ServiceError, overloaded
from kard_ray.serving.shell import REQUEST_ID, respond

CALLBACK = "kard_ray.serving.door.middlewares"
LIMITS = (
    "KARD_RAY_DOOR"  # environment of the proxy: "<KiB of a body>,<seconds of a body>,<seconds of a request>"
)

_DEFAULTS = (1024, 10.0, 60.0)
_MOST_HELD = 256 << 20  # bytes of bodies, of all requests together: nobody's token has been looked at yet
_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# Headers by which a client could steer Serve itself.
_DROPPED = re.compile(
    rb"(?:x-request-timeout-seconds|x-request-disconnect-disabled|x-session-id|serve[_-].*)"
)
_RESTARTED = "/v1/answer"  # its stream has an event that takes text back


def middlewares() -> list[Middleware]:
    """What Serve puts around its proxy."""
    kib, body, request = _DEFAULTS
    if LIMITS in os.environ:
        parts = os.environ[LIMITS].split(",")
        kib, body, request = int(parts[0]), float(parts[1]), float(parts[2])
    return [Middleware(Door, max_body=kib << 10, body_seconds=body, request_seconds=request)]


class Door:
    """An ASGI application around Serve's proxy."""

    def __init__(self, app: ASGIApp, max_body: int, body_seconds: float, request_seconds: float) -> None:
        """``request_seconds``: how long a request is tried again."""
        self.app = app
        self.max_body, self.body_seconds, self.request_seconds = max_body, body_seconds, request_seconds
        self.held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await _Passage(self, scope, receive, send).run()


class _Passage:
    """One request on its way through the door."""

    def __init__(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        self.door, self.receive, self.send = door, receive, send
        self.until = time.monotonic() + door.request_seconds
        self.request_id, headers = _cleaned(scope["headers"])
        self.scope = {**scope, "headers": headers}
        self.started = self.finished = self.streams = False
        self.bytes = 0  # of its body
        self.held: Message | None = None  # the beginning of a response, until something of its body is there
        self.foreign = False  # this try's response is not the service's
        self.refusal: bytearray | None = None  # a whole response that came when a stream was to go on

    async def run(self) -> None:
        try:
            if self.scope["path"].startswith("/-/"):
                raise ServiceError(404, "not_found", "there is no such path.")
            body = await self._body()
            if body is not None:
                await self._ask(body)
        except ServiceError as error:
            await self._refuse(error)
        finally:
            self.door.held -= self.bytes

    async def _body(self) -> bytes | None:
        """All of it: only so can it be asked again; None when the client has gone.

        Raises ServiceError when it is too large or too slow, or there is no room for it beside all others.
        """
        parts: list[bytes] = []
        left = self.door.max_body
        length = dict(self.scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > left:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.door.body_seconds):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    self._hold(len(parts[-1]))
                    left -= len(parts[-1])
                    if left < 0:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            told = f"the body did not arrive within {self.door.body_seconds:g} seconds."
            raise ServiceError(408, "slow_body", told) from None

    def _hold(self, size: int) -> None:
        self.bytes += size
        self.door.held += size
        if self.door.held > _MOST_HELD:
            raise overloaded(1)

    def _too_large(self) -> ServiceError:
        return ServiceError(
            413, "too_large", f"the body may have {self.door.max_body >> 10} KiB, and this one has more."
        )

    async def _ask(self, body: bytes) -> None:
        pause = _PAUSE
        while True:
            gone = await self._once(body)
            if self.finished or gone:
                return
            if self.started and not self.streams:
                return  # a part of the body is out: the connection is closed, and the client knows
            if time.monotonic() + pause > self.until:
                raise ServiceError(
                    503, "unavailable", "the service is not available now; try again.", None, 2
                )
            if self.started:
                if self.scope["path"] != _RESTARTED:
                    raise ServiceError(
                        503, "unavailable", "a replica was lost while it wrote; ask again.", None, 1
                    )
                await self.send(_piece(sse.event("restart", {})))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _once(self, body: bytes) -> bool:
        """Ask one replica; returns whether the client has gone away."""
        given = gone = False
        self.held, self.foreign, self.refusal = None, False, None

        async def receive() -> Message:
            nonlocal given, gone
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            message = await self.receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        await self.door.app({**self.scope, "headers": list(self.scope["headers"])}, receive, self._forward)
        return gone

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = {name.lower(): value for name, value in message["headers"]}
            streams = headers.get(b"content-type", b"").startswith(sse.MEDIA_TYPE.encode())
            # What the service itself says carries a policy; what Serve says in its place does not.
            self.foreign = b"content-security-policy" not in headers
            if self.started and not streams:
                self.refusal = bytearray()
            elif not self.started:
                self.held, self.streams = message, streams
        elif message["type"] == "http.response.body" and not self.foreign:
            self.finished = not message.get("more_body", False)
            if self.refusal is not None:
                self.refusal += message.get("body", b"")
                if self.finished:
                    last = sse.event("error", bytes(self.refusal).decode("utf-8", "replace"))
                    await self.send({"type": "http.response.body", "body": last, "more_body": False})
                return
            if self.held is not None:
                await self.send({**self.held, "headers": _once_each(self.held["headers"])})
                self.started, self.held = True, None
            await self.send(message)

    async def _refuse(self, error: ServiceError) -> None:
        if not self.started:
            await respond(self.send, error, self.request_id, challenge={"x-request-id": self.request_id})
        elif self.streams:
            last = sse.event("error", error.body(self.request_id))
            await self.send({"type": "http.response.body", "body": last, "more_body": False})


def _piece(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


def _cleaned(headers: list[tuple[bytes, bytes]]) -> tuple[str, list[tuple[bytes, bytes]]]:
    """The request's id and the headers that go on: with one id, without what would steer Serve or is no text."""
    request_id, kept = "", []
    for name, value in headers:
        name = name.lower()
        if name == b"x-request-id":
            given = value.decode("latin-1")
            request_id = request_id or (given if REQUEST_ID.fullmatch(given) else "")
        elif not _DROPPED.fullmatch(name) and _is_text(name) and _is_text(value):
            kept.append((name, value))
    request_id = request_id or uuid.uuid4().hex
    return request_id, [*kept, (b"x-request-id", request_id.encode())]


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _once_each(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Serve and the service both name the request's id: once is enough."""
    seen = False
    kept = []
    for name, value in headers:
        if name.lower() == b"x-request-id":
            if seen:
                continue
            seen = True
        kept.append((name, value))
    return kept
