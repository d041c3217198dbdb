"""Sends requests from a process of its own, and tells of each of them.

Run as a module it reads one JSON object from its first line of input, and sends until its input ends, or the time or
the requests are over; what is still open then is waited for. So it ends with whoever started it. Two forms of load:
``concurrency`` clients that each ask again when they have an answer, or ``rate`` requests a second at random moments
(exponential gaps, by ``seed``), whether earlier ones have been answered or not.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ANSWERED = (200, 201)
_MOST_SECONDS = 120.0  # of one request
_IDLE_SECONDS = 2.0  # after which a connection is not used again: no server closes it before


@dataclass(kw_only=True, slots=True)
class Asked:
    """A request. ``rounds``: bodies that are sent one after the other, those of one round at the same time."""

    name: str
    path: str
    rounds: list[list[dict[str, Any]]]
    stream: bool = False
    fresh_id: str = ""  # field of the body that gets an id of its own each time: a verdict


@dataclass(kw_only=True, slots=True)
class Sent:
    """What became of one request; times in seconds, ``at`` on the machine's monotonic clock."""

    name: str
    path: str
    at: float
    seconds: float = 0.0
    first: float | None = None  # until the first text of a stream
    status: int = 0  # 0: no whole response
    code: str = ""
    answer: str | None = None
    text: str = ""
    streamed: str | None = None  # all pieces since the last restart
    restarts: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    stages: dict[str, float] = field(default_factory=dict)  # milliseconds, as the service tells
    retry_after: str | None = None
    identity: str = ""

    @property
    def good(self) -> bool:
        """Whether it was answered."""
        return self.status in ANSWERED and not self.code


def answer_request(name: str, body: Mapping[str, Any], *, stream: bool = False) -> Asked:
    """A question; greedy, one sample, so that the same question has the same answer."""
    whole = {**body, "n": 1, "temperature": 0.0, "stream": stream}
    return Asked(name=name, path="/v1/answer", rounds=[[whole]], stream=stream)


class Load:
    """The process that sends, seen from outside."""

    def __init__(
        self, base: str, token: str, asked: Sequence[Asked], *, concurrency: int | None = None,
        rate: float | None = None, seconds: float = 3600.0, count: int | None = None, pause: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        """``count``: requests at most; questions begin again when there are fewer. ``pause``: of a client, seconds."""
        given = {
            "base": base, "token": token, "asked": [asdict(one) for one in asked], "concurrency": concurrency,
            "rate": rate, "seconds": seconds, "count": count, "pause": pause, "seed": seed,
        }  # fmt: skip
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__; a pipe would be full too soon
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving_parts.load"], stdin=subprocess.PIPE, stdout=self._out, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()

    def stop(self) -> list[Sent]:
        """Send nothing more; all that was sent, in the order in which it ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.wait()

    def wait(self) -> list[Sent]:
        """The same, after it has ended by itself."""
        if self._process.wait():
            raise RuntimeError(f"the load's process ended with {self._process.returncode}")
        return self.so_far()

    def so_far(self) -> list[Sent]:
        """What has ended until now."""
        whole = os.pread(self._out.fileno(), os.fstat(self._out.fileno()).st_size, 0).decode()
        return [Sent(**json.loads(line)) for line in whole.splitlines(keepends=True) if line.endswith("\n")]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._out.close()


def send(base: str, token: str, asked: Sequence[Asked], **how: Any) -> list[Sent]:
    """Send all of it, and wait."""
    with Load(base, token, asked, **how) as load:
        return load.wait()


# -- in the process that sends ---------------------------------------------------------------------------------------


async def _exchange(session: Any, path: str, body: Mapping[str, Any], sent: Sent) -> None:
    """One request and its response into ``sent``."""
    async with session.post(path, json=body) as response:
        sent.status, sent.retry_after = response.status, response.headers.get("Retry-After")
        if response.content_type == "text/event-stream":
            await _events(response, sent)
            return
        _read(await response.json(content_type=None), body, sent)


def _read(told: Mapping[str, Any], body: Mapping[str, Any], sent: Sent) -> None:
    if "error" in told:
        error = told["error"]
        sent.code = str(error.get("code") if isinstance(error, dict) else error)
    elif "choices" in told:  # a completion; what was only scored has no text
        if "prompt_logprobs" not in body:
            sent.text = told["choices"][0]["text"]
            sent.generated_tokens += told["usage"]["completion_tokens"]
            sent.prompt_tokens += told["usage"]["prompt_tokens"]
    elif "rationale" in told:
        sent.answer, sent.text, sent.identity = told["answer"], told["rationale"], told["id"]
        sent.prompt_tokens, sent.generated_tokens = told["tokens"]["prompt"], told["tokens"]["generated"]
        sent.stages = told["milliseconds"]
    elif "feedback_id" in told:
        sent.identity = told["feedback_id"]


async def _events(response: Any, sent: Sent) -> None:
    """A stream of the service; one that ends without an answer is an error, and so is one whose text is another."""
    name, pieces, whole = "", [], False
    async for line in response.content:
        text = line.decode()
        if text.startswith("event: "):
            name = text.removeprefix("event: ").strip()
        elif text.startswith("data: "):
            data = json.loads(text.removeprefix("data: "))
            if name == "token":
                if sent.first is None and data["text"].strip():
                    sent.first = time.monotonic() - sent.at
                pieces.append(data["text"])
            elif name == "restart":
                sent.restarts += 1
                pieces = []
            elif name == "answer":
                whole = True
                _read(data, {}, sent)
            elif name == "error":
                _read(data, {}, sent)
    sent.streamed = "".join(pieces)
    if not whole and not sent.code:
        sent.code = "cut_short"


async def _one(session: Any, asked: Asked, number: int) -> Sent:
    import aiohttp

    sent = Sent(name=asked.name, path=asked.path, at=time.monotonic())
    try:
        for bodies in asked.rounds:
            if asked.fresh_id:
                sent.identity = f"{asked.name}-{number}-{os.getpid()}"
                bodies = [{**body, asked.fresh_id: sent.identity} for body in bodies]
            await asyncio.gather(*(_exchange(session, asked.path, body, sent) for body in bodies))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        sent.status, sent.code = 0, type(error).__name__
    sent.seconds = time.monotonic() - sent.at
    return sent


async def _send(given: dict[str, Any]) -> None:
    import aiohttp

    asked = [Asked(**one) for one in given["asked"]]
    over = asyncio.Event()
    loop, source = asyncio.get_running_loop(), sys.stdin.fileno()

    def end() -> None:  # whoever started this has closed it, or is gone
        over.set()
        loop.remove_reader(source)

    loop.add_reader(source, end)
    numbers = _numbers(given, over)
    headers = {"Authorization": f"Bearer {given['token']}"} if given["token"] else {}
    async with aiohttp.ClientSession(
        base_url=given["base"],
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=_MOST_SECONDS),
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
    ) as session:

        async def ask(number: int) -> None:
            sent = await _one(session, asked[number % len(asked)], number)
            print(json.dumps(asdict(sent)), flush=True)

        async def client() -> None:
            for number in numbers:
                await ask(number)
                if given["pause"]:
                    await _wait(over, given["pause"])

        if given["rate"] is None:
            await asyncio.gather(*(client() for _ in range(given["concurrency"])))
        else:
            await _at_random(numbers, ask, over, given["rate"], given["seed"])


def _numbers(given: Mapping[str, Any], over: asyncio.Event) -> Iterator[int]:
    """Numbers of requests, until there is nothing more to send."""
    until = time.monotonic() + given["seconds"]
    number = 0
    while not over.is_set() and time.monotonic() < until and number != given["count"]:
        yield number
        number += 1


async def _at_random(numbers: Iterator[int], ask: Any, over: asyncio.Event, rate: float, seed: int) -> None:
    rng = random.Random(seed)
    due = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in numbers:
            group.create_task(ask(number))
            due += rng.expovariate(rate)
            await _wait(over, due - time.monotonic())


async def _wait(over: asyncio.Event, seconds: float) -> None:
    """Until so many seconds are over, or everything is."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await over.wait()
    except TimeoutError:
        return


if __name__ == "__main__":
    asyncio.run(_send(json.loads(sys.stdin.readline())))
