"""The door in Serve's proxy, in front of applications that die in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kard_ray.serving import door as module
from kard_ray.serving.door import Door, middlewares

POLICY = (b"content-security-policy", b"default-src 'none'")
Step = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


def start(kind: bytes = b"application/json", status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), POLICY]}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sends(*messages: Message, takes_body: bool = True) -> Step:
    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if takes_body:
            while (await receive()).get("more_body"):
                pass
        for message in messages:
            await send(message)

    return run


class Replicas:
    """An application whose n-th call does what the n-th step says; the last one again and again."""

    def __init__(self, *steps: Step) -> None:
        self.steps, self.calls = steps, list[Scope]()
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        step = self.steps[min(len(self.calls), len(self.steps) - 1)]
        self.calls.append(scope)
        await step(scope, receive, send)


def ask(
    app: ASGIApp,
    path: str = "/v1/answer",
    messages: Sequence[Message] = ({"type": "http.request", "body": b"{}"},),
    headers: Sequence[tuple[bytes, bytes]] = (),
    **limits: Any,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """(status, headers, body) of what the client sees."""
    sent: list[Message] = []
    given = iter(messages)
    door = Door(app, **({"max_body": 100, "body_seconds": 5.0, "request_seconds": 5.0} | limits))

    async def receive() -> Message:
        for message in given:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        scope = {"type": "http", "path": path, "method": "POST", "headers": list(headers)}
        await asyncio.wait_for(door(scope, receive, send), 20)

    asyncio.run(run())
    if not sent:
        return 0, {}, b""
    assert [m["type"] for m in sent].count("http.response.start") == 1
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


def test_a_request_whose_replica_dies_is_asked_of_another_one() -> None:
    replicas = Replicas(sends(), sends(start()), sends(start(), body(b"{}")))
    status, _, data = ask(replicas, headers=[(b"X-Request-Id", b"mine")])
    assert (status, data) == (200, b"{}")
    assert [dict(scope["headers"])[b"x-request-id"] for scope in replicas.calls] == [b"mine"] * 3


def test_a_stream_that_breaks_off_begins_anew() -> None:
    events = b"text/event-stream"
    replicas = Replicas(
        sends(start(events), body(b"event: token\n\n", more=True)),
        sends(start(events), body(b"event: passages\n\n", more=True), body(b"event: answer\n\n")),
    )
    status, _, data = ask(replicas)
    assert status == 200
    assert data == b"event: token\n\nevent: restart\ndata: {}\n\nevent: passages\n\nevent: answer\n\n"


def test_a_stream_that_begins_anew_with_a_refusal_ends_with_an_error() -> None:
    replicas = Replicas(
        sends(start(b"text/event-stream"), body(b"event: token\n\n", more=True)),
        sends(start(status=503), body(b'{"error":', more=True), body(b'{"code":"overloaded"}}')),
    )
    _, _, data = ask(replicas)
    assert data.endswith(
        b'event: restart\ndata: {}\n\nevent: error\ndata: {"error":{"code":"overloaded"}}\n\n'
    )


def test_another_interfaces_stream_cannot_begin_anew() -> None:
    replicas = Replicas(sends(start(b"text/event-stream"), body(b"data: x\n\n", more=True)))
    _, _, data = ask(replicas, "/v1/chat/completions")
    assert len(replicas.calls) == 1
    assert b'"code":"unavailable"' in data


@pytest.mark.parametrize(
    "step", [sends(), sends({"type": "http.response.start", "status": 503, "headers": []})]
)
def test_what_stays_away_is_told_in_the_services_own_words(step: Step) -> None:
    status, headers, data = ask(Replicas(step), request_seconds=0.2)
    assert status == 503
    assert headers[b"retry-after"] == b"2"
    assert b'"code": "unavailable"' in data


def test_serves_own_paths_are_closed() -> None:
    replicas = Replicas(sends(start(), body(b"routes")))
    for path in ("/-/routes", "/-/healthz", "/-/"):
        assert ask(replicas, path)[0] == 404
    assert replicas.calls == []


def test_bodies_that_are_too_large_or_too_slow_reach_nobody() -> None:
    replicas = Replicas(sends(start(), body(b"{}")))
    large = [{"type": "http.request", "body": b"x" * 60, "more_body": True}] * 2
    assert ask(replicas, messages=large)[0] == 413
    assert ask(replicas, headers=[(b"content-length", b"101")])[0] == 413
    slow = [{"type": "http.request", "body": b"x", "more_body": True}]
    assert ask(replicas, messages=slow, body_seconds=0.05)[0] == 408
    assert ask(replicas, messages=[{"type": "http.disconnect"}])[0] == 0
    assert replicas.calls == []


def test_bodies_of_all_clients_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 150)
    replicas = Replicas(sends(start(), body(b"{}")))
    door = Door(replicas, max_body=100, body_seconds=5.0, request_seconds=5.0)

    async def request(*parts: bytes) -> int:
        sent: list[Message] = []
        given = iter(parts)

        async def receive() -> Message:
            for part in given:
                return {"type": "http.request", "body": part, "more_body": part != b"last"}
            await hold.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await door({"type": "http", "path": "/v1/answer", "method": "POST", "headers": []}, receive, send)
        return sent[0]["status"] if sent else 0

    async def run() -> list[int]:
        nonlocal hold
        hold = asyncio.Event()
        slow = asyncio.create_task(request(b"x" * 90))
        await asyncio.sleep(0.01)
        refused = await request(b"x" * 90, b"last")
        small = await request(b"last")
        hold.set()
        await slow
        return [refused, small, await request(b"x" * 90, b"last")]

    hold = asyncio.Event()
    assert asyncio.run(run()) == [503, 200, 200]


def test_headers_that_steer_serve_or_are_no_text_are_left_out() -> None:
    replicas = Replicas(sends(start(), body(b"{}")))
    dropped = [
        (b"X-Request-Timeout-Seconds", b"0.1"),
        (b"serve_multiplexed_model_id", b"x"),
        (b"Serve-Multiplexed-Model-Id", b"x"),
        (b"x-session-id", b"x"),
        (b"x-odd", b"\xff"),
        (b"x-request-id", b"\xff"),
    ]
    ask(replicas, headers=[*dropped, (b"Accept", b"a")])
    kept = dict(replicas.calls[0]["headers"])
    assert set(kept) == {b"accept", b"x-request-id"}
    assert len(kept[b"x-request-id"]) == 32


def test_the_requests_id_stands_once_in_the_response() -> None:
    twice = start()
    twice["headers"] += [(b"x-request-id", b"a"), (b"X-Request-ID", b"a")]

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        await send(twice)
        await send(body(b""))

    _, headers, _ = ask(count)
    assert [name.lower() for name in headers].count(b"x-request-id") == 1


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARD_RAY_DOOR", "7,3,30")
    (made,) = middlewares()
    assert made.kwargs == {"max_body": 7 << 10, "body_seconds": 3.0, "request_seconds": 30.0}
