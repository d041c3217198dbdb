"""A small real HTTP server that speaks the OpenAI API and can be slow, fail, cut off its replies, and lie.

What it writes is a function of prompt, seed and choice. Whether it misbehaves is a function of the prompt (a marker
such as ``[null x2]`` in it, or a share of all prompts) or of the request's number (every n-th). Each request is a line
in the log before it is answered, so that they can be counted after the client was killed.

In a test: ``with serving(log) as server``. As a process, which prints its address:
``python endpoint_server.py --port 0 --log FILE``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from kard_ray.teacher.symbolic_parsing import SUMMARY, SUPPLEMENT

MODEL = "teacher-1"
KINDS = (
    # An HTTP status from 400 is a kind too. These are: the account, the connection, the body, and what is in it.
    "quota", "hang", "reset", "cut", "html", "half_json", "not_utf8", "list", "error_in_200", "no_choices",
    "empty_choices", "no_message", "null", "empty", "refusal", "number", "surrogate", "filter", "used_up", "echo_key",
    "no_usage", "negative_usage", "absurd_usage", "text_usage", "other_model", "ignores_n", "more", "one_null",
)  # fmt: skip
_MARKER = re.compile(rf"\[(?P<kind>[45]\d\d|{'|'.join(KINDS)})(?: x(?P<times>\d+))?\]")
_GOLD = re.compile(r"^Answer: (.+)$", re.MULTILINE)
_WORDS = (
    "ash",
    "bay",
    "cliff",
    "dune",
    "elm",
    "fjord",
    "glade",
    "hill",
    "isle",
    "junction",
    "keel",
    "lake",
    "moor",
)


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How the server behaves where a prompt has no marker of its own."""

    latency: tuple[float, float] = (0.0, 0.0)  # seconds before an answer, drawn for each request
    shares: Mapping[str, float] = field(default_factory=dict)  # kind → share of the prompts
    times: int | None = None  # a prompt of ``shares`` misbehaves this often, then no more; None: always
    every: tuple[int, str] | None = None  # (5, "500"): each fifth request
    retry_after: str = ""  # sent with 429 and 503
    key: str = ""  # the only one accepted; empty: no key is asked for
    redirect: str = ""  # sends all requests there


@dataclass(frozen=True, kw_only=True)
class Received:
    """One line of the log."""

    prompt: str  # hash
    seed: int | None
    n: int
    in_flight: int  # this one included
    status: int
    kind: str  # "ok" or how it misbehaved
    at: float  # seconds of a clock that never goes back
    path: str
    fields: tuple[str, ...]  # of the request's body


def read_log(path: Path) -> list[Received]:
    """All requests so far, as they came."""
    if not path.exists():
        return []
    return [Received(**(row | {"fields": tuple(row["fields"])})) for row in map(json.loads, path.open())]


def prompt_hash(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def text_for(prompt: str, seed: int | None, choice: int) -> str:
    """What a well-behaved reply says: a few words, and the conclusion when the prompt shows the gold answer.

    Symbolic knowledge where the prompt asks for it.
    """
    rng = random.Random(f"{prompt_hash(prompt)} {seed} {choice}")
    said = " ".join(rng.choices(_WORDS, k=rng.randint(4, 9))).capitalize()
    if SUMMARY in prompt:  # symbolic knowledge is asked for; every fourth text lacks its second part
        notes = " ".join(rng.choices(_WORDS, k=24))
        return f"{SUMMARY}: {said} {notes}." + (
            f"\n{SUPPLEMENT}: {notes} {said}." if rng.random() < 0.75 else ""
        )
    gold = _GOLD.findall(prompt)
    return f"{said}. So the answer is {gold[-1]}." if gold else f"{said}."


def tokens(text: str) -> int:
    """This server's tokens are words."""
    return len(text.split())


class Endpoint:
    """The application; one loop, no threads."""

    def __init__(self, log: Path, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.in_flight = self.received = 0
        self.seen: Counter[tuple[str, int | None]] = Counter()  # requests by prompt and seed
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.app = web.Application(client_max_size=1 << 28)
        self.app.router.add_post("/v1/chat/completions", self.answer)
        self.app.router.add_post("/v1/completions", self.answer)

    def kind_of(self, prompt: str, seed: int | None) -> str:
        """How this request is treated; counted among those of the same prompt and seed."""
        self.received += 1
        earlier = self.seen[prompt, seed]
        self.seen[prompt, seed] += 1
        for marker in _MARKER.finditer(prompt):
            if earlier < int(marker["times"] or 1 << 30):
                return marker["kind"]
            earlier -= int(marker["times"])
        if self.behaviour.times is None or earlier < self.behaviour.times:
            drawn = int(prompt_hash(prompt), 16) / 16**16
            for kind, share in self.behaviour.shares.items():
                if drawn < share:
                    return kind
                drawn -= share
        if self.behaviour.every and self.received % self.behaviour.every[0] == 0:
            return self.behaviour.every[1]
        return "ok"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        chat = request.path.endswith("/chat/completions")
        prompt = "\n".join(m["content"] for m in asked["messages"]) if chat else asked["prompt"]
        kind, seed = self.kind_of(prompt, asked.get("seed")), asked.get("seed")
        header = request.headers.get("Authorization", "")
        status = 429 if kind == "quota" else int(kind) if kind.isdecimal() else 200
        if self.behaviour.redirect:
            status = 302
        elif self.behaviour.key and header != f"Bearer {self.behaviour.key}":
            status = 401
        elif asked["model"] != MODEL:
            status = 404
        self._note(
            prompt=prompt_hash(prompt), seed=seed, n=asked.get("n", 1), in_flight=self.in_flight, status=status,
            kind=kind, at=time.monotonic(), path=request.path, fields=sorted(asked),
        )  # fmt: skip
        await asyncio.sleep(random.uniform(*self.behaviour.latency) if kind != "hang" else 3600)
        if status != 200:
            return self._refusal(status, kind, asked, header)
        if kind == "reset":
            request.transport.abort()
            return web.Response()
        return await self._reply(request, kind, self._body(kind, asked, chat, prompt, header))

    def _note(self, **row: Any) -> None:
        os.write(self.log, json.dumps(row).encode() + b"\n")  # one write: whole lines, at once

    def _refusal(self, status: int, kind: str, asked: Mapping[str, Any], header: str) -> web.Response:
        headers = {}
        if status in (429, 503) and self.behaviour.retry_after:
            headers["Retry-After"] = self.behaviour.retry_after
        if status == 302:
            headers["Location"] = self.behaviour.redirect
        code = "insufficient_quota" if kind == "quota" else {404: "model_not_found"}.get(status)
        message = {
            400: "This model's maximum context length is 99 tokens.",
            401: f"Incorrect API key provided: {header}.",  # some servers do this
            404: f"The model {asked['model']!r} does not exist.",
            500: f"Internal error while handling {header}",
        }.get(status, "Not now.")
        return web.json_response(
            {"error": {"message": message, "code": code}}, status=status, headers=headers
        )

    def _body(self, kind: str, asked: Mapping[str, Any], chat: bool, prompt: str, header: str) -> Any:
        """The reply as a tree, with the lies that fit into one."""
        n = asked.get("n", 1)
        n = {"ignores_n": 1, "more": n + 2}.get(kind, n)
        choices, generated = [], 0
        for at in range(n):
            text, reason = text_for(prompt, asked.get("seed"), at), "stop"
            for stop in asked.get("stop", ()):
                text = text.split(stop)[0]
            words = text.split()
            if len(words) > asked["max_tokens"]:
                text, reason = " ".join(words[: asked["max_tokens"]]), "length"
            generated += tokens(text)
            lies: dict[str, Any] = {
                "null": None, "empty": " \n", "refusal": None, "number": 7, "surrogate": "half \ud800 a pair",
                "filter": "Some", "used_up": "", "echo_key": f"I was called with {header}",
            }  # fmt: skip
            text = None if kind == "one_null" and at == 0 else lies.get(kind, text)
            reason = {"filter": "content_filter", "used_up": "length"}.get(kind, reason)
            message = {"role": "assistant", "content": text}
            if kind == "refusal":
                message["refusal"] = "I will not."
            part = {"message": message} if chat else {"text": text}
            choices.append({} if kind == "no_message" else {"index": at, "finish_reason": reason, **part})
        usage: Any = {"prompt_tokens": tokens(prompt), "completion_tokens": generated}
        usage |= {
            "negative_usage": {"prompt_tokens": -5},
            "absurd_usage": {"completion_tokens": 10**12},
            "text_usage": {"prompt_tokens": "many"},
        }.get(kind, {})
        tree: dict[str, Any] = {
            "object": "completion",
            "model": asked["model"],
            "choices": choices,
            "usage": usage,
        }
        tree |= {"other_model": {"model": "teacher-1-2026-08"}, "empty_choices": {"choices": []}}.get(
            kind, {}
        )
        if kind == "no_usage":
            del tree["usage"]
        if kind == "no_choices":
            del tree["choices"]
        if kind == "error_in_200":
            return {"error": {"message": "Upstream is overloaded.", "code": 502}}
        return [tree] if kind == "list" else tree

    async def _reply(self, request: web.Request, kind: str, tree: Any) -> web.StreamResponse:
        """Send the reply, with the lies that are no tree."""
        body = json.dumps(tree).encode()
        if kind == "html":
            return web.Response(
                text="<html><body>Welcome to the hotel's Wi-Fi</body></html>", content_type="text/html"
            )
        if kind == "half_json":
            body = body[: len(body) // 2]
        if kind == "not_utf8":
            body = body.replace(b"completion", b"\xff\xfe", 1)
        if kind != "cut":
            return web.Response(body=body, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        request.transport.close()
        return response


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    log: Path

    def received(self) -> list[Received]:
        """All requests so far."""
        return read_log(self.log)


async def _run(log: Path, behaviour: Behaviour, port: int, ready: Any, over: asyncio.Event) -> None:
    runner = web.AppRunner(Endpoint(log, behaviour).app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    ready(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
    await over.wait()
    await runner.cleanup()


@contextmanager
def serving(log: Path, behaviour: Behaviour | None = None) -> Iterator[Server]:
    """A server in a thread of this process, on a free port of this machine."""
    started, address = threading.Event(), []
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    def ready(url: str) -> None:
        address.append(url)
        started.set()

    run = _run(log, behaviour or Behaviour(), 0, ready, over)
    thread = threading.Thread(target=loop.run_until_complete, args=(run,), daemon=True)
    thread.start()
    assert started.wait(timeout=20), "the server did not start"
    try:
        yield Server(url=address[0], log=log)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(timeout=20)
        loop.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The server as a process; ends when it is killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--log", type=Path, required=True, help="JSON Lines, one for each request")
    parser.add_argument(
        "--latency", type=float, nargs=2, default=(0.0, 0.0), metavar=("FROM", "TO"), help="seconds"
    )
    parser.add_argument(
        "--fail", action="append", default=[], metavar="KIND:SHARE", help="a share of the prompts"
    )
    parser.add_argument("--times", type=int, help="how often a prompt of --fail fails; default: always")
    parser.add_argument("--every", metavar="N:KIND", help="each N-th request")
    parser.add_argument("--retry-after", default="", help="header of 429 and 503")
    parser.add_argument("--key", default="", help="the only API key that is accepted")
    given = parser.parse_args(arguments)
    every = given.every.split(":") if given.every else None
    behaviour = Behaviour(
        latency=tuple(given.latency),
        shares={kind: float(share) for kind, share in (entry.split(":") for entry in given.fail)},
        times=given.times,
        every=(int(every[0]), every[1]) if every else None,
        retry_after=given.retry_after,
        key=given.key,
    )
    asyncio.run(_run(given.log, behaviour, given.port, lambda url: print(url, flush=True), asyncio.Event()))


if __name__ == "__main__":
    main()
