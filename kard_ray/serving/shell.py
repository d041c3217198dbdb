"""What stands around the interface: who may ask, how much, how fast, and what every response carries.

Pure ASGI, so that a refused request costs next to nothing, and no body is read that will not be used.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kard_ray.serving import sse
from kard_ray.serving.config import ServingConfig, is_loopback
from kard_ray.serving.ending import Work
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.limits import TokenLimits
from kard_ray.serving.logs import logger, told
from kard_ray.serving.metrics import Metrics
from kard_ray.serving.tokens import TokenFile, credentials

OPEN_PATH = "/healthz"  # the only one that answers without a token
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": PAGE_POLICY,
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
NO_ONE = "-"  # whose requests are counted when no token is asked for


class Shell:
    """An ASGI application around ``inner``; ``paths`` are counted by their names, all others as one."""

    def __init__(
        self,
        inner: ASGIApp,
        config: ServingConfig,
        limits: TokenLimits,
        metrics: Metrics,
        *,
        tokens: TokenFile | None,
        paths: frozenset[str],
        work: Work | None = None,
        adds_request_id: bool = True,
    ) -> None:
        """``tokens`` is None without authentication; ``adds_request_id``: nobody in front adds it to the response."""
        self.inner, self.config, self.limits, self.metrics = inner, config, limits, metrics
        self.tokens, self.paths, self.adds_request_id = tokens, paths, adds_request_id
        self.work = work or Work()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; other protocols than HTTP are closed."""
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        await _Exchange(self, scope, receive, send).run()


class _Exchange:
    """One request and its response."""

    def __init__(self, shell: Shell, scope: Scope, receive: Receive, send: Send) -> None:
        self.shell, self.scope, self._receive, self._send = shell, scope, receive, send
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.status = 0
        self.code = ""
        self.token = NO_ONE
        self.began = time.perf_counter()
        self._body_left = shell.config.max_body_kib << 10
        self._body_until = time.monotonic() + shell.config.body_seconds
        self._body_done = False
        self._streams = False
        self._cut: ServiceError | None = None  # why no more of the body was read

    async def run(self) -> None:
        path = self.scope["path"]
        state = self.scope.setdefault("state", {})
        state["request_id"] = self.request_id
        state["fail"] = self._note
        try:
            with ExitStack() as open_:
                self._admit(path, open_)
                state["token"] = self.token
                await self.shell.inner(self.scope, self._receive_body, self._send_marked)
                if self._cut is not None:
                    raise self._cut
        except ServiceError as error:
            await self._refuse(error)
        except asyncio.CancelledError:
            self.code = self.code or "disconnected"
            raise
        except Exception:  # noqa: BLE001 - the client is told that something went wrong, the logs what
            logger.exception(
                "a request failed unexpectedly", extra={"kard_ray": {"request_id": self.request_id}}
            )
            await self._refuse(
                ServiceError(500, "internal", "this should not have happened; the logs tell more.")
            )
        finally:
            self._finish(path)

    # -- before ------------------------------------------------------------------------------------------------------

    def _admit(self, path: str, open_: ExitStack) -> None:
        """Raise ServiceError unless this request may be looked at."""
        if path == OPEN_PATH:
            return
        config = self.shell.config
        per_minute, at_once = config.requests_per_minute, config.at_once_per_token
        if self.shell.tokens is None:
            self._require_loopback()
        else:
            given = credentials(self.headers.get("authorization"))
            known = self.shell.tokens.find(given[0]) if given else None
            if given is None or known is None:
                raise ServiceError(
                    401, "unauthorized", "a valid token is needed: Authorization: Bearer kr_..."
                )
            if given[1]:
                self._require_same_site()
            self.token = known.name
            per_minute, at_once = known.requests_per_minute or per_minute, known.at_once or at_once
        if path.startswith("/v1/"):
            self.shell.limits.take(self.token, per_minute)
            self.scope["state"]["per_minute"] = per_minute
        if path != "/" and not path.startswith("/static/"):  # a browser asks for all files of a page at once
            open_.enter_context(self.shell.limits.open(self.token, at_once))
            open_.enter_context(self.shell.work.one())
        if self.scope["method"] in ("POST", "PUT", "PATCH"):
            self._require_json()

    def _require_loopback(self) -> None:
        """Without tokens only this machine is served, and only under its own name: a web page cannot lead here."""
        client = self.scope.get("client")
        host = (
            self.headers.get("host", "").rsplit(":", 1)[0]
            if not _bare_v6(self.headers.get("host", ""))
            else "::1"
        )
        if client is None or not is_loopback(client[0]) or not is_loopback(host):
            raise ServiceError(
                401,
                "unauthorized",
                "this service asks for no token, and therefore answers its own machine alone.",
            )

    def _require_same_site(self) -> None:
        """A browser sends a password by itself, also for another site's page: that one may not use it."""
        if self.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise ServiceError(
                401, "unauthorized", "other sites may not use this service with a browser's password."
            )

    def _require_json(self) -> None:
        length = self.headers.get("content-length")
        if length is not None and (not length.isdigit() or int(length) > self._body_left):
            raise self._too_large()
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ServiceError(
                415, "unsupported_media_type", "the body must be JSON, with Content-Type: application/json."
            )

    # -- between -----------------------------------------------------------------------------------------------------

    async def _receive_body(self) -> Message:
        if self._body_done:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._body_until - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise ServiceError(
                408,
                "slow_body",
                f"the body did not arrive within {self.shell.config.body_seconds:g} seconds.",
            ) from None
        if message["type"] == "http.request":
            self._body_left -= len(message.get("body", b""))
            if self._body_left < 0:
                self._cut = self._too_large()
                raise self._cut
            self._body_done = not message.get("more_body", False)
        return message

    def _too_large(self) -> ServiceError:
        return ServiceError(
            413,
            "too_large",
            f"the body may have {self.shell.config.max_body_kib} KiB, and this one has more.",
        )

    async def _send_marked(self, message: Message) -> None:
        if self._cut is not None and not self.status:
            return  # what the interface makes of a body that ended in the middle is not the reason
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            self._streams = headers.get("content-type", "").startswith(sse.MEDIA_TYPE)
            for name, value in _SAFE_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
            if self.shell.adds_request_id:
                headers["x-request-id"] = self.request_id
        await self._send(message)

    # -- after -------------------------------------------------------------------------------------------------------

    def _note(self, code: str) -> None:
        """The interface has answered with an error of this code."""
        self.code = code

    async def _refuse(self, error: ServiceError) -> None:
        self.code, self._cut = error.code, None
        if self.status:  # its beginning is on the way: only a stream of events has a place for an error
            if self._streams:
                last = sse.event("error", error.body(self.request_id))
                await self._send({"type": "http.response.body", "body": last, "more_body": False})
            return
        await respond(self._send_marked, error, self.request_id, challenge=self._challenge(error))

    def _challenge(self, error: ServiceError) -> Mapping[str, str]:
        if error.status != 401:
            return {}
        # A browser asks its user for a password only for the page itself; scripts are told in JSON.
        page = not self.scope["path"].startswith("/v1/")
        return {"www-authenticate": 'Basic realm="kard-ray", charset="UTF-8"' if page else "Bearer"}

    def _finish(self, path: str) -> None:
        seconds = time.perf_counter() - self.began
        known = path if path in self.shell.paths else "other"
        metrics = self.shell.metrics
        metrics.requests.inc(tags={"path": known, "status": str(self.status or 499)})
        metrics.seconds.observe(seconds, tags={"path": known})
        if self.code:
            metrics.errors.inc(tags={"code": self.code})
        if known.startswith("/v1/") or self.status >= 400:
            told(
                "request",
                request_id=self.request_id,
                method=self.scope["method"] if self.scope["method"] in _METHODS else "other",
                path=known,
                status=self.status or 499,
                code=self.code,
                token=self.token,
                milliseconds=round(seconds * 1000, 3),
            )


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _bare_v6(host: str) -> bool:
    return host in ("[::1]", "::1")


async def respond(
    send: Send, error: ServiceError, request_id: str, *, challenge: Mapping[str, str] | None = None
) -> None:
    """Send ``error`` as a whole response."""
    headers: dict[str, Any] = {"content-type": "application/json", **(challenge or {})}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    body = json.dumps(error.body(request_id), ensure_ascii=False).encode("utf-8", "replace")
    headers["content-length"] = str(len(body))
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
